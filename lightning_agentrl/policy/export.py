"""A checkpoint of a run as a Hugging Face folder: for `from_pretrained`, vLLM, peft, or the hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_agentrl.policy.loading import Dtype, skeleton
from lightning_agentrl.policy.lora import Lora, check_same_weights, plain_weights, save_adapter
from lightning_agentrl.policy.spec import PolicySpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

META = "meta.pt"
"""What Lightning writes beside the shards of a checkpoint."""


def export(ckpt: Path, out: Path, adapter: bool = False, dtype: Dtype | None = None, policy: str | None = None) -> str:
    """Write the policy of a checkpoint: safetensors, config, tokenizer with chat template, generation config.

    Args:
        ckpt: checkpoint of a run; a file, or the folder of a sharded one.
        out: folder that is made.
        adapter: write LoRA's adapters alone, for peft and vLLM, instead of merging them.
        dtype: of the written weights; none keeps the one that they were trained in.
        policy: what the run started from (config, tokenizer, frozen weights), where that lies elsewhere by now.

    Returns:
        What was written.

    Raises:
        ValueError: when the checkpoint is none of ours, the folder is not empty, or there are no adapters.
        ImportError: when 4-bit weights would have to be merged without bitsandbytes.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists and is not an empty folder; name a new one.")
    described, state = read_checkpoint(ckpt)
    spec = _spec(described, policy)
    if adapter:
        if spec.lora is None:
            raise ValueError(f"{ckpt} was trained without model.lora, so it has no adapters; leave --adapter out.")
        if dtype is not None:
            raise ValueError("Adapters are written as they were trained, in float32; leave --dtype out.")
        save_adapter(state, spec.adapter_config(), out)
        what = f"adapters of rank {spec.lora.r} on {spec.source}"
    else:
        network = _network(spec, state, dtype)
        network.save_pretrained(out)
        _copy_generation_config(spec.source, out)
        what = f"{network.num_parameters() / 1e6:.1f} million parameters in {dtype or spec.dtype}"
    spec.tokenizer.save_pretrained(out)
    return f"Wrote {what} to {out}."


def read_checkpoint(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """What a checkpoint says about its policy, and the policy's trained tensors under Hugging Face names.

    Said are the policy, its dtype and LoRA, and as ``step`` how many optimizer steps it has behind it. Only tensors and
    plain values are read, so a checkpoint of a stranger runs no code.

    Raises:
        ValueError: when it is no checkpoint of a run of this package.
    """
    try:
        if path.is_dir():
            rest = torch.load(path / META, map_location="cpu", weights_only=True)
            named = _shards(path)
        else:
            rest = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            named = {f"state_dict.{name}": tensor for name, tensor in rest["state_dict"].items()}
        described = {**rest["agentrl"], "step": rest.get("global_step", 0)}
    except UnpicklingError as error:  # whose text advises to load it all the same
        raise ValueError(
            f"{path} is no checkpoint of a run of this package: it is damaged, or holds more than tensors and numbers."
        ) from error
    except (OSError, EOFError, LookupError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is no checkpoint of a run of this package: {error}.") from error
    return described, {PREFIX.sub("", name): tensor for name, tensor in named.items() if PREFIX.match(name)}


PREFIX = re.compile(r"^state_dict\.policy\.")
"""Of the policy's tensors in shards."""


def _shards(folder: Path) -> dict[str, Tensor]:
    """The policy's tensors, put together in this process; the optimizer's are not read."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    known = FileSystemReader(folder).read_metadata().state_dict_metadata
    whole = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in known.items()
        if PREFIX.match(name) and isinstance(entry, TensorStorageMetadata)
    }
    load(whole, checkpoint_id=folder, no_dist=True)
    return whole


def _spec(described: Mapping[str, Any], policy: str | None) -> PolicySpec:
    lora = described.get("lora")
    if lora is not None:
        lora = Lora(**{field.name: lora[field.name] for field in fields(Lora)})
    return PolicySpec(policy or described["policy"], described.get("dtype", "float32"), lora)


def _network(spec: PolicySpec, state: Mapping[str, Tensor], dtype: Dtype | None) -> PreTrainedModel:
    """The policy as a plain network, with its settings as they were before dropout was switched off."""
    from transformers import AutoConfig

    if spec.lora is not None:
        adapted = spec.load()
        check_same_weights(state, spec.trained(adapted.state_dict()))
        adapted.load_state_dict(state, strict=False)  # the frozen weights are not in it
        state = dict(plain_weights(adapted))
    network = skeleton(AutoConfig.from_pretrained(spec.source))
    wanted = getattr(torch, dtype or spec.dtype)
    cast = {name: tensor.to(wanted) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    check_same_weights(cast, network.state_dict())
    network.load_state_dict(cast, assign=True)
    network.tie_weights()
    return network


def _copy_generation_config(source: str, out: Path) -> None:
    """As it is: Transformers reads some that it refuses to save, such as temperatures of greedy generation."""
    from transformers import GenerationConfig
    from transformers.utils import GENERATION_CONFIG_NAME

    with contextlib.suppress(OSError):  # a policy without one keeps what follows from its config
        GenerationConfig.from_pretrained(source).to_json_file(out / GENERATION_CONFIG_NAME)
