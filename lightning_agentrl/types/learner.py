"""The only upward arrow: what a data module may ask of the module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lightning_agentrl.types.batch import RolloutBatch, Signal

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Weights = Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class Holding:
    """Memory that a part of a run takes on the device of one rank."""

    what: str
    size: int
    """In bytes."""
    certain: bool = True
    """False for an estimate."""


class Learner(Protocol):
    """The only upward arrow: what the DataModule may ask of the module."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""

    @property
    def policy_config(self) -> PretrainedConfig:
        """The policy's architecture; an engine builds its own copy of the network from it."""

    @property
    def policy_dtype(self) -> torch.dtype:
        """What the policy computes in."""

    @property
    def policy_size(self) -> int:
        """Bytes of all weights in `policy_dtype`, as an engine holds them; known before the policy is loaded."""

    @property
    def float32_head(self) -> bool:
        """Whether logits are computed in float32, whatever the rest of the policy computes in."""

    @property
    def adapter_rank(self) -> int | None:
        """Rank of the adapters that an engine gets alone after its first weights; None where it gets all weights."""

    @property
    def temperature(self) -> float:
        """Temperature of rollouts, scores and entropies alike."""

    @property
    def policy_version(self) -> int:
        """Number of optimizer steps behind the weights."""

    @property
    def requires(self) -> Signal:
        """Union of what credit, loss and the rest need."""

    @property
    def reads(self) -> Signal:
        """Signals that are used where the environment gives them."""

    @property
    def trains_branches(self) -> bool:
        """Whether branches are trained; otherwise they need no scores."""

    @property
    def drops_idle(self) -> bool:
        """Whether `weigh` leaves out rows without credit, so that they cost nothing."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Hugging Face names and full tensors, both halves of tied embeddings; the same count on every rank.

        Without the adapters where those go to the engine alone.
        """

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters as a peft folder; asked for only if there is an `adapter_rank`."""

    def holdings(self, device: torch.device, training: bool) -> list[Holding]:
        """What the learner will hold on the device of this rank; asked before the policy is loaded.

        Raises:
            ValueError: when the policy cannot be held as asked.
        """

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        """The batch with the signals filled in, without gradients; at the rollout temperature unless told otherwise."""

    def assign(self, batch: RolloutBatch) -> RolloutBatch:
        """The batch with advantages, clip scale, loss mask and components filled in."""

    def weigh(self, steps: Sequence[Sequence[RolloutBatch]], longest: int) -> list[list[RolloutBatch]]:
        """The micro-batches with ``loss_weights``, which sum to 1 over one optimizer step across all ranks.

        ``longest``: most tokens that the policy may say in a trajectory, in case something divides by it.
        """

    def record(self, metrics: Mapping[str, float]) -> None:
        """Hand over numbers about a collection; the module logs them."""
