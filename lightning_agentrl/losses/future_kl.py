"""APPO's loss: a token counts more when the update has already moved towards what followed it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.losses.base import LOG_RATIO_LIMIT, PolicyLoss, log_ratio
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.ops import masked_suffix_sum, suffix_sum
from lightning_agentrl.types import Metrics, RolloutBatch


@dataclass(frozen=True)
class FutureKLLoss(PolicyLoss):
    """`ClippedLoss` with A·(1 + b·f_t) for A, f_t = clip(exp Σ_{k≥t} γ^{k−t}·Δ_k) (arXiv:2606.12384, Eq. 7–8).

    Δ_k = log π − log π_old of the trained tokens from t on, γ = 2^(−1 / half_life); f is a constant (no gradient flows
    through it). With one optimizer step per collection Δ is 0, f is 1, and every advantage is scaled by 1 + b.

    Deviations: tokens with π / π_old > ``participation`` are left out of the sum, as in the release; rows with several
    dual-clipped tokens are kept, which the release drops.
    """

    influence: float = 0.5
    """b, at least 0: how much f adds; 0 is plain clipping."""
    half_life: float = 32.0
    """Tokens after which a later token counts half; γ = 2^(−1 / half_life)."""
    future_low: float = 1.0
    """Lower bound of f; 1 lets the future only raise a token, as in the paper."""
    future_high: float = 1.2
    """Upper bound of f."""
    positions: Literal["all", "trained"] = "all"
    """Whether γ counts every column, observations included (as printed), or steps over what is not trained."""
    participation: float | None = 3.0
    """Ratio above which a token is left out of its predecessors' sums; null keeps all."""
    safety: float | None = None
    """Ratio above which f of a token with A < 0 is held in [0.8, 1]; null never does. The release uses 6."""
    clip_low: float = 0.2
    """ε_low: the ratio is clipped below 1 − ε_low."""
    clip_high: float = 0.28
    """ε_high: the ratio is clipped above 1 + ε_high."""
    dual_clip: float | None = None
    """c > 1: for A < 0 the loss is at most −A·c; null switches it off."""

    def __post_init__(self) -> None:
        if self.influence < 0 or self.half_life <= 0 or not 0 < self.future_low <= self.future_high:
            raise ValueError(
                f"FutureKLLoss needs influence ≥ 0, half_life > 0 and 0 < future_low ≤ future_high, got "
                f"{self.influence}, {self.half_life}, {self.future_low} and {self.future_high}."
            )
        for name in ("participation", "safety"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"FutureKLLoss.{name} must be positive or null, got {value}.")
        self._clipped()  # checks its own settings

    @property
    def clips(self) -> bool:
        """A ratio of exactly 1 is never clipped, and has no future."""
        return True

    @property
    def reads_clip_scale(self) -> bool:
        """As `ClippedLoss` does."""
        return True

    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Token losses; 0 off the loss mask."""
        assert batch.advantages is not None
        raw, future = self._futures(logprobs.detach(), batch)
        raised = replace(batch, advantages=batch.advantages * (1 + self.influence * future))
        loss, metrics = self._clipped()(logprobs, raised)
        return loss, {**metrics, "future": future, "future_bound_share": (future != raw).to(future.dtype)}

    def future(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> Float[Tensor, "N T"]:
        """Â_fut of Eq. 7, one number per token."""
        return self._futures(logprobs, batch)[1]

    def _futures(
        self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch
    ) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """Exp of the discounted sum, before and after its bounds."""
        assert batch.advantages is not None
        logs = log_ratio(logprobs, batch).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        takes_part = logs
        if self.participation is not None:
            takes_part = torch.where(logs <= math.log(self.participation), logs, torch.zeros_like(logs))
        gamma = 2 ** (-1 / self.half_life)
        if self.positions == "all":
            total = suffix_sum(takes_part, gamma)
        else:
            total = masked_suffix_sum(takes_part, batch.trainable, gamma)
        raw = total.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        future = raw.clamp(self.future_low, self.future_high)
        if self.safety is not None:
            risky = (batch.advantages < 0) & (logs.exp() > self.safety)
            future = torch.where(risky, future.clamp(0.8, 1.0), future)
        return raw, future

    def _clipped(self) -> ClippedLoss:
        return ClippedLoss(self.clip_low, self.clip_high, dual_clip=self.dual_clip)
