"""Importance correction: the engine that sampled and the trainer that learns never compute quite the same policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.losses.base import LOG_RATIO_LIMIT, ratio_units
from lightning_agentrl.ops import per_token, turn_mean, turn_sum
from lightning_agentrl.types import Metrics, RolloutBatch


@dataclass(frozen=True)
class ImportanceCorrection:
    """Weights the policy loss of each token by w = π_trainer / π_engine at collection, tamed by ``mode``.

    It corrects the mismatch of the two implementations, not the drift of the policy during an update, which is the
    ratio's business. Weights carry no gradient and do not touch the KL. Over whole rollouts ``sequence`` weights
    explode with length; prefer ``token`` or a geometric mean there.
    """

    level: Literal["token", "turn", "sequence", "geometric"] = "token"
    """Over what w is taken: a token, the geometric mean of a turn, the product over a row, or its geometric mean."""
    mode: Literal["truncate", "mask", "filter"] = "truncate"
    """min(w, high), as in truncated importance sampling; w inside [low, high] and else 0; or 1 inside and else 0."""
    high: float = 2.0
    """Greatest weight, more than 1."""
    low: float = 0.0
    """Least weight that ``mask`` and ``filter`` let pass, in [0, 1]; must be 0 with ``truncate``."""

    def __post_init__(self) -> None:
        if self.high <= 1 or not 0 <= self.low <= 1:
            raise ValueError(
                f"ImportanceCorrection needs high > 1 and low in [0, 1], got high={self.high} and low={self.low}."
            )
        if self.mode == "truncate" and self.low:
            raise ValueError(f"ImportanceCorrection.low is read with mode=mask or filter only, got low={self.low}.")

    def __call__(
        self, trainer_logprobs: Float[Tensor, "N T"], batch: RolloutBatch
    ) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Weight of each token, 1 off the loss mask; and the raw ratios, before anything was cut.

        Args:
            trainer_logprobs: of the policy at collection, as the trainer computes them.
            batch: with the engine's ``sampling_logprobs``.
        """
        logs = trainer_logprobs.detach() - batch.sampling_logprobs
        logs = torch.where(batch.trainable, logs, torch.zeros_like(logs))
        raw = self._pooled(logs, batch).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        inside = (raw >= self.low) & (raw <= self.high)
        if self.mode == "truncate":
            weight = raw.clamp(max=self.high)
        else:
            weight = torch.where(inside, raw if self.mode == "mask" else torch.ones_like(raw), torch.zeros_like(raw))
        metrics = {"correction_ratio_raw": raw, "correction_cut_share": (~inside).to(raw.dtype)}
        return torch.where(batch.trainable, weight, torch.ones_like(weight)), metrics

    def _pooled(self, logs: Float[Tensor, "N T"], batch: RolloutBatch) -> Float[Tensor, "N T"]:
        if self.level == "token":
            return logs
        ids, units = ratio_units(batch, "turn" if self.level == "turn" else "row")
        pool = turn_sum if self.level == "sequence" else turn_mean
        return per_token(pool(logs, ids, units), ids)
