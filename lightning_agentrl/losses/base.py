"""The contract of a policy loss, and how token losses become one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_agentrl.types import Metrics, RolloutBatch, Signal

Aggregation = Literal["token-mean", "sequence-mean", "constant"]
Divisor = Literal["trained", "all"]

LOG_RATIO_LIMIT = 20.0
"""exp(20) ≈ 5e8 is far outside every clip range and still finite in fp16's wider relatives."""


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

    @property
    def reads_clip_scale(self) -> bool:
        """Whether the loss has a clip range that credit may scale turn by turn."""
        return False

    @abstractmethod
    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Unreduced loss of each token, and [N, T] diagnostics which the caller averages over the loss mask.

        Args:
            logprobs: log-probs under the policy being trained, with gradient; column 0 and padding are 0.
            batch: rollouts with ``advantages`` and ``loss_mask``.
        """


def log_ratio(logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> Float[Tensor, "N T"]:
    """Log π − log π_old per trained token, 0 elsewhere.

    Without ``old_logprobs`` in the batch (one optimizer step per collection) the denominator is the same forward,
    detached: the ratio is exactly 1 and only its gradient counts.
    """
    old = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
    return torch.where(batch.trainable, logprobs - old, torch.zeros_like(logprobs))


def ratio_units(batch: RolloutBatch, level: Literal["turn", "row"]) -> tuple[Int[Tensor, "N T"], int]:
    """Which unit each trained token belongs to (−1: none), and how many units a row may have."""
    if level == "turn":
        return torch.where(batch.trainable, batch.turn_ids, -1), batch.turn_mask.shape[1]
    return torch.where(batch.trainable, 0, -1), 1


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
        rows: number of rows that the optimizer step divides by, over all ranks: those with a trained token, or all.
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
