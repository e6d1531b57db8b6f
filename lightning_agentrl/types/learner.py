"""The only upward arrow: what a data module may ask of the module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lightning_agentrl.types.batch import RolloutBatch, Signal

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Weights = Iterable[tuple[str, Tensor]]


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
        """Hugging Face names and full tensors, both halves of tied embeddings; the same count on every rank."""

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
