"""Rollouts with vLLM inside the trainer's process: one engine per rank, on a thread of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lightning_agentrl.engines.base import Completion, EngineSetup, RolloutEngine, SamplingParams
from lightning_agentrl.engines.checks import check_request, check_temperature
from lightning_agentrl.engines.engine_thread import EngineThread
from lightning_agentrl.engines.stop_strings import check_stop_strings
from lightning_agentrl.engines.vllm_backend import VLLMBackend
from lightning_agentrl.types import Holding, Weights

CPU_KV_CACHE_BYTES = 256 << 20
CPU_BATCHED_TOKENS = 8192
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM has room for."""


class VLLMEngine(RolloutEngine):
    """vLLM in this process, with weights handed over by reference and a prefix cache that knows their version."""

    def __init__(
        self,
        max_num_seqs: int = 256,
        kv_cache_memory_bytes: int | None = None,
        gpu_memory_utilization: float = 0.4,
        block_size: int = 32,
        enforce_eager: bool = True,
        enable_sleep_mode: bool = False,
        log_level: str = "ERROR",
        engine_args: dict[str, Any] | None = None,
    ) -> None:
        """Cheap: imports no vLLM.

        Args:
            max_num_seqs: Most requests that are decoded together; the others wait.
            kv_cache_memory_bytes: Memory for keys and values in bytes. None: 256 MiB on a CPU, and on a GPU what
                `gpu_memory_utilization` leaves.
            gpu_memory_utilization: Share of a GPU's memory that vLLM may fill, in (0, 1]; the trainer needs the rest.
            block_size: Tokens per block of the prefix cache, a multiple of 32 on a CPU and of 16 on a GPU.
            enforce_eager: Neither compile nor capture graphs. A CPU needs True: compiled code would keep old weights.
            enable_sleep_mode: Give GPU memory back to the trainer between rollouts. Ignored on a CPU.
            log_level: What vLLM logs: DEBUG, INFO, WARNING or ERROR.
            engine_args: Further arguments for vLLM's EngineArgs, for instance an attention backend.
        """
        if block_size <= 0 or block_size % 16:
            raise ValueError(f"block_size must be a positive multiple of 16, got {block_size}.")
        if not 0 < gpu_memory_utilization <= 1:
            raise ValueError(f"gpu_memory_utilization must be in (0, 1], got {gpu_memory_utilization}.")
        self._max_num_seqs = max_num_seqs
        self._kv_cache_memory_bytes = kv_cache_memory_bytes
        self._gpu_memory_utilization = gpu_memory_utilization
        self._block_size = block_size
        self._enforce_eager = enforce_eager
        self._enable_sleep_mode = enable_sleep_mode
        self._log_level = log_level
        self._engine_args = dict(engine_args or {})
        self._thread: EngineThread[VLLMBackend] | None = None
        self._setup: EngineSetup | None = None

    def check(self, dtype: torch.dtype, adapter_rank: int | None) -> None:
        """See that nothing in `engine_args` contradicts the trainer, and that vLLM has room for the adapters' rank.

        Raises:
            ValueError: when it does, or has none.
        """
        own = str(self._engine_args.get("dtype", dtype)).removeprefix("torch.")
        if own != str(dtype).removeprefix("torch."):
            raise ValueError(
                f"data.engine's engine_args set dtype={own}, and the trainer computes in {dtype}: log-probs of the two "
                f"would differ by more than a step of the policy makes. Leave dtype out; it follows the trainer."
            )
        if adapter_rank is not None and adapter_rank > RANKS[-1]:
            raise ValueError(
                f"vLLM takes adapters up to rank {RANKS[-1]}, got model.lora.r={adapter_rank}; sync by merge instead."
            )

    def holdings(self, policy_size: int, device: torch.device, total: int) -> list[Holding]:
        """Weights and the cache of keys and values; on a GPU both within `gpu_memory_utilization`.

        Raises:
            ValueError: when the weights alone are more than that.
        """
        if device.type != "cuda":
            cache = self._kv_cache_memory_bytes or CPU_KV_CACHE_BYTES
            return [Holding("engine's weights", policy_size), Holding("engine's keys and values", cache)]
        share = int(self._gpu_memory_utilization * total)
        if policy_size >= share:
            raise ValueError(
                f"gpu_memory_utilization={self._gpu_memory_utilization} gives the engine {share / 2**30:.1f} of "
                f"{total / 2**30:.1f} GiB; the policy's weights alone take {policy_size / 2**30:.1f} GiB. Raise it, "
                f"or take a smaller policy."
            )
        return [Holding("engine: weights, keys and values", share)]

    def start(self, setup: EngineSetup) -> None:
        """Import vLLM and build the network with random weights.

        Raises:
            ImportError: If vLLM is not installed.
            ValueError: If a setting does not fit the device or the process group.
            RuntimeError: If vLLM refuses the model or a setting.
        """
        if self.started:
            raise RuntimeError("The vLLM engine runs already; close it before starting it again.")
        check_temperature(setup.temperature, lowest=0.01, highest=2.0)  # vLLM raises and refuses what is beyond
        _check_ranks(setup)
        if setup.device.type == "cpu" and not self._enforce_eager:
            raise ValueError("On a CPU vLLM needs enforce_eager=True: code it compiles keeps the weights of the start.")
        self._thread = EngineThread(lambda: VLLMBackend(setup, self._arguments(setup), self._log_level), "vLLM")
        self._setup = setup

    @property
    def started(self) -> bool:
        """Between `start` and `close`."""
        return self._thread is not None

    def update_weights(self, weights: Weights, version: int) -> None:
        """Replace all weights. The prefix cache forgets everything, whatever ``version`` says.

        Raises:
            RuntimeError: If requests are in flight.
        """
        self._running().feed(weights, VLLMBackend.load)

    def update_adapter(self, folder: Path, version: int) -> None:
        """Swap the adapter that all later requests use; each gets an id of its own, whatever ``version`` says.

        Raises:
            RuntimeError: If requests are in flight, or vLLM refuses the adapter.
        """
        self._running().call(lambda backend: backend.load_adapter(folder))

    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        """Continue a prompt.

        With ``top_logprobs`` = k, entropies are ``−Σ p ln p − r ln r`` over the k most likely tokens and the remaining
        mass r as one symbol: a lower bound, at most ``r ln(V − k)`` below the truth.

        Raises:
            ValueError: If the prompt leaves no room, the temperature is not the engine's, or a stop string meets no
                tokenizer.
        """
        thread, setup = self._running(), self._setup
        assert setup is not None
        check_request(token_ids, params, setup)
        check_stop_strings(params, setup.tokenizer)
        return await thread.submit(token_ids, params)

    def sleep(self) -> None:
        """With ``enable_sleep_mode`` on a GPU: move the weights to host memory and drop the keys and values."""
        if self._can_sleep():
            self._running().call(lambda backend: backend.engine.sleep(level=1))

    def wake(self) -> None:
        """Undo `sleep`; the prefix cache is empty then."""
        if self._can_sleep():
            self._running().call(lambda backend: backend.engine.wake_up())

    def close(self) -> None:
        """Shut vLLM down; the trainer's process group survives."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    def _can_sleep(self) -> bool:
        return self._enable_sleep_mode and self._setup is not None and self._setup.device.type == "cuda"

    def _running(self) -> EngineThread[VLLMBackend]:
        if self._thread is None:
            raise RuntimeError("The vLLM engine is not running; call start first.")
        return self._thread

    def _arguments(self, setup: EngineSetup) -> dict[str, Any]:
        on_cpu = setup.device.type == "cpu"
        cache_bytes = self._kv_cache_memory_bytes
        if cache_bytes is None and on_cpu:
            cache_bytes = CPU_KV_CACHE_BYTES
        arguments: dict[str, Any] = {
            "skip_tokenizer_init": setup.tokenizer is None,
            "load_format": "dummy",
            "dtype": str(setup.dtype).removeprefix("torch."),
            "max_model_len": setup.max_model_len,
            "max_num_seqs": self._max_num_seqs,
            "block_size": self._block_size,
            "enforce_eager": self._enforce_eager,
            "gpu_memory_utilization": self._gpu_memory_utilization,
            "enable_prefix_caching": True,
            "generation_config": "vllm",
            "logprobs_mode": "processed_logprobs",  # of the tempered distribution; at temperature 1 the raw ones
            "max_logprobs": -1,
            "seed": 0,
            "disable_log_stats": True,
            "distributed_executor_backend": "external_launcher",
        }
        if on_cpu:
            # A prompt cut into chunks rewinds its seeded generator, which CPU generators refuse.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(setup.max_model_len, CPU_BATCHED_TOKENS)
        if cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = cache_bytes
        if self._enable_sleep_mode and not on_cpu:
            arguments["enable_sleep_mode"] = True
        if setup.adapter_rank is not None:
            rank = next(rank for rank in RANKS if rank >= setup.adapter_rank)
            arguments |= {"enable_lora": True, "max_loras": 1, "max_cpu_loras": 1, "max_lora_rank": rank}
        if setup.float32_head:
            arguments["hf_overrides"] = {"head_dtype": "float32"}
        return arguments | self._engine_args


def _check_ranks(setup: EngineSetup) -> None:
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    if setup.distributed and not dist.is_initialized():
        raise ValueError("A distributed engine needs the trainer's process group; start it after Lightning made one.")
    if ranks > 1 and not setup.distributed:
        raise ValueError(f"Each of the {ranks} ranks must start its engine at the same point, with distributed=True.")
