"""The clipped surrogate of PPO (arXiv:1707.06347, Eq. 7), over tokens, turns or whole sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.losses.base import LOG_RATIO_LIMIT, PolicyLoss, log_ratio, ratio_units
from lightning_agentrl.ops import per_token, turn_mean
from lightning_agentrl.types import Metrics, RolloutBatch


@dataclass(frozen=True)
class ClippedLoss(PolicyLoss):
    """max(−A·r, −A·clip(r, 1 − c·clip_low, 1 + c·clip_high)) per token, c the credit's ``clip_scale`` or 1."""

    clip_low: float = 0.2
    """ε_low: the ratio is clipped below 1 − ε_low."""
    clip_high: float = 0.2
    """ε_high: the ratio is clipped above 1 + ε_high; larger than ε_low is DAPO's clip-higher (arXiv:2503.14476)."""
    ratio: Literal["token", "turn", "sequence"] = "token"
    """Over what the ratio is taken: a token, or the geometric mean over a turn or a row (GSPO, arXiv:2507.18071)."""
    dual_clip: float | None = None
    """c > 1: for A < 0 the loss is at most −A·c (arXiv:1912.09729); None switches it off."""
    keep_gradient: bool = False
    """Above the range, with A > 0, keep the gradient (1 + ε_high)·A·∇log π instead of none (AEPO, arXiv:2510.14545)."""

    def __post_init__(self) -> None:
        if not 0 <= self.clip_low <= 1 or self.clip_high < 0:
            raise ValueError(
                f"clip_low must lie in [0, 1] and clip_high must not be negative, got {self.clip_low} and "
                f"{self.clip_high}."
            )
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError(f"dual_clip must be greater than 1, got {self.dual_clip}; use null to switch it off.")

    @property
    def clips(self) -> bool:
        """A ratio of exactly 1 is never clipped."""
        return True

    @property
    def reads_clip_scale(self) -> bool:
        """The range may differ from turn to turn."""
        return True

    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Token losses; 0 off the loss mask."""
        assert batch.advantages is not None
        logs = self._pooled(log_ratio(logprobs, batch), batch).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        ratio = logs.exp()
        scale = torch.ones_like(ratio) if batch.clip_scale is None else batch.clip_scale
        high = 1 + self.clip_high * scale
        clipped = ratio.clamp(min=1 - self.clip_low * scale, max=high)
        if self.keep_gradient:
            clipped = torch.where(ratio > high, ratio * (high / ratio.detach()), clipped)
        loss = torch.maximum(-batch.advantages * ratio, -batch.advantages * clipped)
        more = {}
        if self.dual_clip is not None:
            capped = torch.minimum(loss, -batch.advantages * self.dual_clip)
            binds = (batch.advantages < 0) & (capped < loss)
            loss = torch.where(batch.advantages < 0, capped, loss)
            more["dual_clip_fraction"] = binds.float()
        outside = ratio.detach() != clipped.detach()
        if self.keep_gradient:
            outside = outside & ~((ratio.detach() > high) & (batch.advantages > 0))
        metrics = {
            "ratio": ratio.detach(),
            "ratio_deviation": (ratio.detach() - 1).abs(),
            # A clipped token loses its gradient only on the side where clipping binds for its advantage.
            "clip_fraction": (outside & (loss.detach() > (-batch.advantages * ratio).detach())).float(),
            "approx_kl": ratio.detach() - 1 - logs.detach(),
            **more,
        }
        return torch.where(batch.trainable, loss, torch.zeros_like(loss)), metrics

    def _pooled(self, logs: Float[Tensor, "N T"], batch: RolloutBatch) -> Float[Tensor, "N T"]:
        if self.ratio == "token":
            return logs
        ids, units = ratio_units(batch, "turn" if self.ratio == "turn" else "row")
        mean = per_token(turn_mean(logs, ids, units), ids)
        # Value of the unit's mean with the gradient of the token itself (GSPO-token, Eq. 13 of arXiv:2507.18071):
        # summed over a unit with equal advantages it is the unit's own gradient, and advantages may differ inside it.
        return mean.detach() + logs - logs.detach()
