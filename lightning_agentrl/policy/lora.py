"""Low-rank adapters by peft: which layers get them, what the engine is given, and the policy without them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_agentrl.scoring.ranks import whole

ADAPTER = "default"
"""Name under which peft keeps our adapter."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (arXiv:2106.09685): W + alpha/r · B·A with W frozen, in 4 bits if asked (arXiv:2305.14314)."""

    r: int = 16
    """Rank of the update, at least 1."""
    alpha: int = 32
    """Numerator of the scale alpha/r, at least 1."""
    targets: tuple[str, ...] | None = None
    """Last parts of the names of linear layers, such as q_proj; none takes all but the output head."""
    dropout: float = 0.0
    """Only 0 is accepted: the ratio of a policy to itself must be 1, so no forward may be random."""
    quantize: Literal["nf4"] | None = None
    """Hold W in 4-bit NormalFloat (QLoRA); needs a CUDA device and bitsandbytes."""
    sync: Literal["merge", "adapter"] = "merge"
    """What the engine gets: merged weights, or W once and then the adapters alone (VLLMEngine)."""

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha < 1:
            raise ValueError(f"model.lora needs r and alpha of at least 1, got r={self.r} and alpha={self.alpha}.")
        if self.dropout:
            raise ValueError(
                f"model.lora.dropout must be 0, got {self.dropout}: with it two forwards of one policy differ, and "
                f"every ratio is off from the first step on."
            )
        if self.targets is not None and not self.targets:
            raise ValueError("model.lora.targets is empty; name layers, or leave it out for all linear ones.")

    def check_device(self, device: torch.device) -> None:
        """Refuse to train on 4-bit weights where nothing computes with them as the engine does.

        Raises:
            ImportError: without bitsandbytes.
            ValueError: without CUDA.
        """
        self.check_quantization()
        if self.quantize is not None and device.type != "cuda":
            raise ValueError(
                f"model.lora.quantize={self.quantize} needs a CUDA device, and this run is on {device}: on a CPU "
                f"bitsandbytes repacks 4-bit weights for bfloat16 kernels whenever the policy is not trained, so that "
                f"validation and training would compute different things. Leave quantize out (plain LoRA)."
            )

    def check_quantization(self) -> None:
        """Raise an ImportError where 4-bit weights are asked for and cannot even be read."""
        if self.quantize is not None and importlib.util.find_spec("bitsandbytes") is None:
            raise ImportError(
                f"model.lora.quantize={self.quantize} needs bitsandbytes, which is not installed here: pip install "
                f"'lightning-agentrl[lowbit]' on a machine with CUDA, or leave quantize out (plain LoRA)."
            )


def targeted(lora: Lora, network: Any) -> dict[str, nn.Linear]:
    """The layers that get an adapter, by name; the network may be on the meta device.

    Raises:
        ValueError: when a target matches no linear layer.
    """
    head = network.get_output_embeddings()
    linear = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Linear) and module is not head
    }
    if lora.targets is None:
        return linear
    strangers = [target for target in lora.targets if not any(_matches(name, target) for name in linear)]
    if strangers:
        raise ValueError(
            f"model.lora.targets: {', '.join(strangers)} matches no linear layer of {type(network).__name__}; it has "
            f"{', '.join(sorted({_last(name) for name in linear}))} (the output head takes no adapter)."
        )
    return {name: module for name, module in linear.items() if any(_matches(name, target) for target in lora.targets)}


def adapter_config(lora: Lora, layers: Mapping[str, nn.Linear], source: str) -> Any:
    """Peft's description of the adapters, readable by peft and vLLM."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=sorted(lora.targets or {_last(name) for name in layers}),
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(Path(source).resolve()) if Path(source).is_dir() else source,
    )


def add_adapters(network: Any, lora: Lora, source: str) -> None:
    """Freeze the network and add adapters that change nothing yet. They alone are trained, in float32.

    They are drawn from the process's seed, not from what its generator has come to: ranks must start alike.
    """
    network.requires_grad_(False)
    network.add_adapter(adapter_config(lora, targeted(lora, network), source), ADAPTER)
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for name, parameter in network.named_parameters():
        if is_adapter(name):
            fresh = torch.zeros(parameter.shape, device="cpu")  # in float32: steps of 1e-5 would vanish in 16 bits
            if ".lora_A." in name:
                nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)  # as peft does
            parameter.data = fresh.to(parameter.device)
            parameter.requires_grad_(True)


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is that of an adapter."""
    return f".{ADAPTER}." in name and (".lora_A." in name or ".lora_B." in name)


def check_same_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless a checkpoint holds exactly the weights that are trained here, in the same shapes."""
    there, here = ({name: tuple(value.shape) for name, value in state.items()} for state in (found, expected))
    if there != here:
        first = min(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise ValueError(
            f"The checkpoint does not fit this policy: {first} is {there.get(first, 'absent')} there and "
            f"{here.get(first, 'absent')} here. Use the model.policy and model.lora that it was trained with."
        )


@contextmanager
def adapters_off(network: Any) -> Iterator[None]:
    """A block in which the network is what it was before `add_adapters`."""
    network.disable_adapters()
    try:
        yield
    finally:
        network.enable_adapters()


def merged(
    weight: Float[Tensor, "O I"], a: Float[Tensor, "r I"], b: Float[Tensor, "O r"], scale: float
) -> Float[Tensor, "O I"]:
    """W + scale · B·A as a new tensor, summed in float32 and rounded once to W's type."""
    return torch.addmm(weight.float(), b.float(), a.float(), alpha=scale).to(weight.dtype)


@torch.no_grad()
def plain_weights(network: Any, merge: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as a network without adapters has them, both halves of tied embeddings included.

    One tensor is made at a time, and no parameter is ever changed: what the adapters were added to cannot drift. Where
    ranks hold a part of each, all of them have to go through all of it.

    Args:
        network: after `add_adapters`, or without adapters.
        merge: whether the adapters are added in.
    """
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    adapted = {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}
    for name, tensor in network.state_dict().items():
        if is_adapter(name) or ".weight." in name:  # the latter is what bitsandbytes keeps beside a 4-bit weight
            continue
        owner, _, leaf = name.rpartition(".")
        plain = tensor.detach()
        module = network.get_submodule(owner)
        if isinstance(module, nn.Linear) and leaf == "weight":
            plain = dequantize_module_weight(module).detach()  # itself, unless it is held in 4 bits
        owner = owner.removesuffix(".base_layer")
        layer: Any = adapted.get(owner)
        if merge and layer is not None and leaf == "weight":
            a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
            plain = merged(whole(plain), whole(a), whole(b), layer.scaling[ADAPTER])
        yield f"{owner}.{leaf}" if owner else leaf, whole(plain)


def save_adapter(state: Mapping[str, Tensor], config: Any, folder: Path) -> None:
    """Write adapters as a folder that peft and vLLM read.

    Args:
        state: of the network or of the adapters alone.
        config: their `adapter_config`.
        folder: is made if need be.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": whole(tensor.detach()).cpu().contiguous()
        for name, tensor in state.items()
        if is_adapter(name)
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
