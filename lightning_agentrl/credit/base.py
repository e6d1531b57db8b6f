"""The contract of a credit assigner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from lightning_agentrl.types import Credit, RolloutBatch, Signal

Reduce = Callable[[Tensor], Tensor]


def identity(tensor: Tensor) -> Tensor:
    """The sum over one rank."""
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

    @abstractmethod
    def __call__(self, batch: RolloutBatch, *, all_sum: Reduce = identity) -> Credit:
        """Assign credit to a batch of whole groups.

        Args:
            batch: rollouts; a group is never split over two batches.
            all_sum: sums a tensor over all ranks; only statistics over the whole batch use it.
        """
