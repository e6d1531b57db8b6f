"""What one optimizer step minimises, per token: policy loss, corrected for the engine's mismatch, plus a KL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.losses.base import PolicyLoss
from lightning_agentrl.losses.correction import ImportanceCorrection
from lightning_agentrl.losses.kl import KLEstimator, kl_estimate
from lightning_agentrl.ops import masked_mean
from lightning_agentrl.prefix_tree import Load
from lightning_agentrl.types import Metrics, RolloutBatch, Signal

OUTLIERS = frozenset({"ratio", "mismatch", "correction_ratio_raw"})
"""Diagnostics whose greatest value says more than their mean."""


@dataclass(frozen=True)
class Objective:
    """Policy loss · correction + coefficient · KL(π ‖ π_ref)."""

    loss: PolicyLoss
    correction: ImportanceCorrection | None = None
    kl_coefficient: float = 0.0
    kl_estimator: KLEstimator = "k3"

    def __post_init__(self) -> None:
        if self.kl_coefficient < 0:
            raise ValueError(f"model.kl_coefficient must not be negative, got {self.kl_coefficient}.")
        if self.kl_estimator == "k1":
            raise ValueError(
                "model.kl_estimator=k1 has no gradient as a loss; k1+ has its value and the right gradient."
            )

    @property
    def requires(self) -> Signal:
        """What the loss needs, and a reference if there is a KL to it."""
        return self.loss.requires | (Signal.REF_LOGPROBS if self.kl_coefficient else Signal.NONE)

    def __call__(self, logprobs: Float[Tensor, "N T"], batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Metrics]:
        """Unreduced loss of each token, 0 off the loss mask, and [N, T] diagnostics."""
        batch.require(self.loss.requires, type(self.loss).__name__)
        losses, metrics = self.loss(logprobs, batch)
        # The engine sampled with the weights at collection: compare it with the trainer's opinion at that time.
        at_collection = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
        mismatch = (batch.sampling_logprobs - at_collection).abs()
        metrics = {**metrics, "mismatch": torch.where(batch.trainable, mismatch, torch.zeros_like(mismatch))}
        if self.correction is not None:
            weights, raw = self.correction(at_collection, batch)
            losses, metrics = losses * weights, {**metrics, **raw}
        if self.kl_coefficient:
            batch.require(Signal.REF_LOGPROBS, "model.kl_coefficient")
            assert batch.ref_logprobs is not None
            kl = kl_estimate(self.kl_estimator, logprobs, batch.ref_logprobs)
            kl = torch.where(batch.trainable, kl, torch.zeros_like(kl))
            losses, metrics = losses + self.kl_coefficient * kl, {**metrics, "kl": kl.detach()}
        return losses, metrics


def scalars(
    metrics: Mapping[str, Tensor], mask: Bool[Tensor, "N T"], load: Load
) -> Iterator[tuple[str, Tensor | float, int, Literal["mean", "max", "sum"]]]:
    """Names, values, weights and reductions of what a micro-batch says about itself; on every rank the same names.

    Diagnostics are means over trained tokens, and of outliers the greatest value too; ``load`` is what it took.
    """
    trained = max(int(mask.sum()), 1)
    for name, values in metrics.items():
        short = f"{name}_mean" if name in OUTLIERS else name
        yield f"policy/{short}", masked_mean(values, mask), trained, "mean"
        if name in OUTLIERS:
            yield f"policy/{name}_max", (values * mask).max(), trained, "max"
    for name, count in (("rows", load.tokens), ("distinct", load.distinct), ("computed", load.computed)):
        yield f"update/tokens_{name}", float(count), 1, "sum"
    yield "update/computed_share", load.computed / load.tokens, round(load.tokens), "mean"
