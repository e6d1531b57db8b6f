"""The contract of a policy loss, and how token losses become one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.types import Metrics, RolloutBatch, Signal

Aggregation = Literal["token-mean", "sequence-mean", "constant"]


class PolicyLoss(ABC):
    """A loss per token. It reads `Credit`'s fields from the batch and never knows who assigned them."""

    @property
    def requires(self) -> Signal:
        """Signals that must be in the batch."""
        return Signal.NONE

    @property
    def clips(self) -> bool:
        """Whether the loss does anything that one optimizer step per collection would make idle."""
        return False

    @abstractmethod
    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Unreduced loss of each token, and [N, T] diagnostics which the caller averages over the loss mask.

        Args:
            logprobs: log-probs under the policy being trained, with gradient; column 0 and padding are 0.
            batch: rollouts with ``advantages`` and ``loss_mask``.
        """


def aggregate(
    mask: Bool[Tensor, "N T"], mode: Aggregation, *, tokens: Tensor, rows: Tensor, constant: float | None = None
) -> Float[Tensor, "N T"]:
    """Weight of each token such that Σ loss · weight is the aggregated loss of a whole optimizer step.

    ``token-mean``: every trained token counts the same (DAPO). ``sequence-mean``: every row counts the same, and a
    row's tokens share its weight (the GRPO paper). ``constant``: a row's sum is divided by ``constant``, rows are
    averaged (Dr.GRPO).

    Args:
        mask: trained tokens of this micro-batch.
        mode: one of the three.
        tokens: number of trained tokens in the optimizer step, over all ranks.
        rows: number of rows with at least one trained token in the optimizer step, over all ranks.
        constant: the divisor L of ``constant``, in tokens.
    """
    weights = mask.float()
    if mode == "token-mean":
        return weights / tokens.clamp(min=1)
    if mode == "sequence-mean":
        return weights / weights.sum(1, keepdim=True).clamp(min=1) / rows.clamp(min=1)
    if constant is None or constant <= 0:
        raise ValueError(f"aggregation=constant needs a positive divisor (aggregation_constant), got {constant}.")
    return weights / constant / rows.clamp(min=1)
