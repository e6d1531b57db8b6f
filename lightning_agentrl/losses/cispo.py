"""CISPO: clip the weight of a token, never its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.losses.base import LOG_RATIO_LIMIT, PolicyLoss, log_ratio
from lightning_agentrl.types import Metrics, RolloutBatch


@dataclass(frozen=True)
class CISPOLoss(PolicyLoss):
    """−sg(clip(r, ratio_low, ratio_high))·A·log π per token (arXiv:2506.13585, Eq. 4–5).

    The bounds are those of the ratio itself, not distances from 1. The value contains a log-prob and means nothing by
    itself; the gradient does.
    """

    ratio_low: float = 0.0
    """Least weight of a token; 0 leaves the lower side open, as recommended."""
    ratio_high: float = 5.0
    """Greatest weight of a token, more than 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.ratio_low < 1 < self.ratio_high:
            raise ValueError(
                f"CISPOLoss needs 0 ≤ ratio_low < 1 < ratio_high, got {self.ratio_low} and {self.ratio_high}; they "
                f"bound the ratio itself, not its distance from 1."
            )

    @property
    def clips(self) -> bool:
        """A ratio of exactly 1 is never clipped."""
        return True

    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Token losses; 0 off the loss mask."""
        assert batch.advantages is not None
        ratio = log_ratio(logprobs.detach(), batch).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        weight = ratio.clamp(self.ratio_low, self.ratio_high)
        loss = -weight * batch.advantages * logprobs
        metrics = {
            "ratio": ratio,
            "ratio_deviation": (ratio - 1).abs(),
            "clip_fraction": (weight != ratio).to(ratio.dtype),
            "approx_kl": ratio - 1 - ratio.log(),
        }
        return torch.where(batch.trainable, loss, torch.zeros_like(loss)), metrics
