"""The contract of a rollout engine: tokens in, tokens and log-probs out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from lightning_agentrl.types import Holding, Weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class SamplingParams:
    """How to sample one completion. Neither top-p, top-k nor min-p: training needs the full distribution."""

    max_tokens: int
    temperature: float
    """0 is greedy; otherwise the temperature the engine was started with."""
    stop_token_ids: tuple[int, ...]
    """Ending tokens; the one that ended the completion is part of it."""
    seed: int | None = None
    top_logprobs: int = 0
    """Size k of the top-k that entropy estimates are made from; 0 asks for none."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end a completion as well, control tokens visible. The token that brings one to its end is the last,
    whatever else it spells. What the prompt ends with is no part of a stop string."""


@dataclass(frozen=True)
class Completion:
    """What the engine sampled."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Log-prob of each token, under the tempered distribution if the temperature is not 0 (nats)."""
    finish_reason: Literal["stop", "length"]
    entropies: tuple[float, ...] | None = None
    cached_tokens: int = 0
    """How many tokens of the prompt came from the engine's prefix cache."""


@dataclass(frozen=True)
class EngineSetup:
    """What an engine is told once, before its first request."""

    config: PretrainedConfig
    """The policy's architecture."""
    dtype: torch.dtype
    device: torch.device
    max_model_len: int
    """Longest prompt plus completion, in tokens."""
    temperature: float
    """Temperature of sampled (not greedy) requests."""
    distributed: bool = False
    """Whether several ranks each own an engine."""
    tokenizer: PreTrainedTokenizerBase | None = None
    """The policy's; needed where requests have stop strings."""
    float32_head: bool = False
    """Whether logits are computed in float32."""
    adapter_rank: int | None = None
    """Rank of the adapters that `update_adapter` will bring; None where whole weights come."""


class RolloutEngine(ABC):
    """Owns a copy of the policy's weights and never calls the trainer's module.

    Life: construct (cheap, from the command line) → `start` → (`update_weights` → many `generate`)* → `close`. With
    adapters: `start` → `update_weights` → (`update_adapter` → many `generate`)* → `close`.
    """

    def check(self, dtype: torch.dtype, adapter_rank: int | None) -> None:
        """See, before anything is loaded, that the engine can hold the policy as the trainer does.

        Raises:
            ValueError: when it computes in another dtype, or takes no adapters and would get them.
        """
        if adapter_rank is not None:
            raise ValueError(
                f"{type(self).__name__} takes whole weights only, and model.lora.sync=adapter sends adapters alone. "
                f"Use model.lora.sync=merge, or VLLMEngine."
            )

    def holdings(self, policy_size: int, device: torch.device, total: int) -> list[Holding]:
        """What the engine will hold on the device of its rank.

        Args:
            policy_size: bytes of all weights, as the engine holds them.
            device: where it will run.
            total: bytes of memory there, free or not.
        """
        return [Holding("engine's weights", policy_size)]

    @abstractmethod
    def start(self, setup: EngineSetup) -> None:
        """Build the network; collective when ``setup.distributed``. Weights are random until `update_weights`."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Between `start` and `close`."""

    @abstractmethod
    def update_weights(self, weights: Weights, version: int) -> None:
        """Replace all weights; nothing computed with the old ones is used afterwards. Blocks until done."""

    def update_adapter(self, folder: Path, version: int) -> None:
        """Put an adapter over the weights, in place of the last one; otherwise as `update_weights`.

        Args:
            folder: adapters as peft saves them; it may be gone afterwards.
            version: of the policy.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no adapters.")

    @abstractmethod
    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        """Continue a prompt. Safe to call from many asyncio tasks of any running loop."""

    def sleep(self) -> None:  # noqa: B027 - optional
        """Give memory back to the trainer while no rollout runs."""

    def wake(self) -> None:  # noqa: B027 - optional
        """Undo `sleep`."""

    @abstractmethod
    def close(self) -> None:
        """Free everything; may be called twice, and after a crash."""
