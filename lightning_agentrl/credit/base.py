"""The contract of a credit assigner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

from torch import Tensor

from lightning_agentrl.types import Credit, RolloutBatch, Signal

ReduceOp = Literal["sum", "min", "max"]


class Reduce(Protocol):
    """Reduces a tensor over all ranks; every rank must call it equally often, with tensors of the same shape."""

    def __call__(self, tensor: Tensor, op: ReduceOp = "sum") -> Tensor:
        """The reduced tensor, on every rank."""


def one_rank(tensor: Tensor, op: ReduceOp = "sum") -> Tensor:
    """The reduction over one rank."""
    return tensor


class CreditAssigner(ABC):
    """Says how much each sampled token did for the outcome.

    Subclasses are frozen dataclasses whose fields are their command-line options, and pure: the same batch gives the
    same credit, observation tokens never change it, and it is zero off the action mask.
    """

    @property
    def requires(self) -> Signal:
        """Signals that must be in the batch; an assigner that wraps another adds the other's."""
        return Signal.NONE

    @property
    def reads(self) -> Signal:
        """Signals that are used where the environment gives them, and missed by nobody where it does not."""
        return Signal.NONE

    @property
    def wrapped(self) -> CreditAssigner | None:
        """The assigner inside this one, if it is a wrapper."""
        return None

    @property
    def trains_branches(self) -> bool:
        """Whether branches may be trained; otherwise they only lend their rewards, and nothing is scored for them."""
        return True

    @property
    def scales_clip(self) -> bool:
        """Whether the credit sets ``clip_scale``, which a loss without a clip range would ignore."""
        return False

    @abstractmethod
    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Assign credit to a batch of whole groups.

        Args:
            batch: rollouts; a group is never split over two batches.
            all_reduce: reduces a tensor over all ranks; only statistics over the whole batch use it.
        """


def at_least(least: float, owner: object, **settings: float) -> None:
    """Refuse settings below ``least``, by name."""
    for name, value in settings.items():
        if not value >= least:
            raise ValueError(f"{type(owner).__name__}.{name} must be at least {least:g}, got {value}.")


def discount(owner: object, gamma: float) -> None:
    """Refuse a discount outside [0, 1]."""
    if not 0 <= gamma <= 1:
        raise ValueError(f"{type(owner).__name__}.gamma must lie in [0, 1], got {gamma}.")


def degrees(owner: object, ddof: int) -> None:
    """Refuse degrees of freedom that are neither the population's nor the sample's."""
    if ddof not in (0, 1):
        raise ValueError(f"{type(owner).__name__}.ddof must be 0 (population) or 1 (sample), got {ddof}.")
