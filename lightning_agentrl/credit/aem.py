"""AEM: response entropy rescales the credit of any other assigner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, one_rank
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.ops import (
    masked_mean,
    masked_sum,
    owned_turns,
    per_token,
    pool_count,
    pool_extremes,
    pool_index,
    pool_sum,
    turn_mean,
    turn_sum,
)
from lightning_agentrl.types import Credit, Metrics, RolloutBatch, Signal


@dataclass(frozen=True)
class AEM(CreditAssigner):
    """Adaptive entropy modulation: A = α·A_base per turn, confident turns up, uncertain ones down (arXiv:2605.00425).

    H is the mean entropy of a turn's tokens under the policy that is about to be updated; H̃ = (H − min) / (max − min)
    over all turns of the prompt's rollouts; α = exp(−λ·H̃) over its mean, so that α averages 1 over turns. A pool whose
    entropies lie closer together than ``guard`` keeps α = 1. The sign of the credit is kept, and so is a credit of 0.

    Deviations: the body of the paper was not at hand; the form is the one on which readers' accounts of it agree (map
    and mean: two of them, λ = 1 and guard = 0.1: one). Over GiGPO, which the paper does not report, α multiplies both
    parts. Turns without a trained or with a non-finite entropy keep α = 1 and are left out of the pool, masked rollouts
    too.
    """

    base: CreditAssigner = field(default_factory=GRPO)
    """The assigner whose credit is rescaled."""
    lam: float = 1.0
    """λ: strength; 0 gives the base, a negative value the reversed map of the paper's ablation."""
    guard: float = 0.1
    """Least max − min of a pool, in nats."""
    scope: Literal["group", "trajectory", "batch"] = "group"
    """Whose turns are compared: the prompt's, one trajectory's, or all of the collection, over all ranks."""
    shuffle: bool = False
    """Give each turn the α of another turn of its pool, which is the paper's ablation of the assignment."""

    def __post_init__(self) -> None:
        at_least(0, self, guard=self.guard)

    @property
    def requires(self) -> Signal:
        """Entropies, and what the base needs."""
        return Signal.ENTROPIES | self.base.requires

    @property
    def reads(self) -> Signal:
        """As the base does."""
        return self.base.reads

    @property
    def wrapped(self) -> CreditAssigner:
        """The base."""
        return self.base

    @property
    def trains_branches(self) -> bool:
        """As the base does."""
        return self.base.trains_branches

    @property
    def scales_clip(self) -> bool:
        """As the base does."""
        return self.base.scales_clip

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """The base's credit, rescaled."""
        credit = self.base(batch, all_reduce=all_reduce)
        if self.lam == 0:
            return credit
        entropy, counted = self._turn_entropies(batch)
        pools = self._pools(batch)
        alpha, guarded = self._coefficients(entropy.flatten(), pools, counted.flatten(), all_reduce)
        if self.shuffle:
            alpha = alpha[self._next_in_pool(batch, pools, counted.flatten())]
        alpha = torch.where(entropy.isfinite(), alpha.view_as(entropy), 1.0).to(credit.advantages.dtype)
        return replace(
            credit,
            advantages=credit.advantages * per_token(alpha, batch.turn_ids),
            components={**credit.components, "entropy factor": alpha * batch.turn_mask},
            metrics={**credit.metrics, **self._metrics(batch, credit, alpha, entropy, counted, guarded)},
        )

    @staticmethod
    def _turn_entropies(batch: RolloutBatch) -> tuple[Float[Tensor, "N K"], Bool[Tensor, "N K"]]:
        """H of each turn, NaN where no token is trained; and which turns make up the statistics."""
        assert batch.entropies is not None
        ids = torch.where(batch.trainable, batch.turn_ids, -1)
        entropies = batch.entropies.double()
        mean = turn_mean(entropies, ids, batch.turn_mask.shape[1])
        empty = turn_sum(torch.ones_like(entropies), ids, batch.turn_mask.shape[1]) == 0
        mean = mean.masked_fill(empty, torch.nan)
        return mean, mean.isfinite() & owned_turns(batch.turn_ends, batch.inherited)

    def _pools(self, batch: RolloutBatch) -> Int[Tensor, " NK"]:
        rows = {
            "group": pool_index(batch.group_ids)[0],
            "trajectory": torch.arange(len(batch), device=batch.group_ids.device),
            "batch": torch.zeros_like(batch.group_ids),
        }[self.scope]
        return rows.repeat_interleave(batch.turn_mask.shape[1])

    def _coefficients(
        self, entropy: Float[Tensor, " NK"], pools: Int[Tensor, " NK"], counted: Bool[Tensor, " NK"], all_reduce: Reduce
    ) -> tuple[Float[Tensor, " NK"], Bool[Tensor, " NK"]]:
        """α of every turn, and whether its pool was left alone by the guard."""
        entropy = torch.where(entropy.isfinite(), entropy, torch.zeros_like(entropy))
        low, high = pool_extremes(entropy, pools, counted)
        if self.scope == "batch":
            low = all_reduce(low.min()[None], "min").expand_as(low)
            high = all_reduce(high.max()[None], "max").expand_as(high)
        span = high - low
        active = (span >= self.guard) & (span > 0)
        # What is not counted, such as a copy of a masked turn, may lie outside of its pool's range.
        position = ((entropy - low) / torch.where(active, span, torch.ones_like(span))).clamp(0, 1)
        weight = torch.where(active, torch.exp(-self.lam * position), torch.ones_like(span))
        total, count = pool_sum(weight, pools, counted), pool_count(pools, counted).to(weight.dtype)
        if self.scope == "batch":
            sums = torch.stack([masked_sum(weight, counted), counted.sum().to(weight.dtype)])
            total, count = (value.expand_as(weight) for value in all_reduce(sums).unbind())
        return torch.where(active, weight * count / total.clamp(min=1e-300), torch.ones_like(weight)), ~active

    @staticmethod
    def _next_in_pool(
        batch: RolloutBatch, pools: Int[Tensor, " NK"], counted: Bool[Tensor, " NK"]
    ) -> Int[Tensor, " NK"]:
        """For each counted turn the next one of its pool, in an order that hashed identities give (credit is pure)."""
        turns = torch.arange(batch.turn_mask.shape[1], device=pools.device)
        names = (batch.trajectory_ids[:, None] * 1_000_003 + turns * 7_919).flatten()
        mixed = (names ^ (names >> 31)) * 0x2545F4914F6CDD1D  # overflow wraps, which mixes further
        mixed = mixed ^ (mixed >> 29)
        members = counted.nonzero()[:, 0]
        order = members[mixed[members].argsort(stable=True)]
        order = order[pools[order].argsort(stable=True)]  # by pool, hashed order inside
        starts = torch.ones_like(order, dtype=torch.bool)
        starts[1:] = pools[order[1:]] != pools[order[:-1]]
        first = torch.arange(len(order), device=order.device)[starts][starts.long().cumsum(0) - 1]
        following = torch.arange(1, len(order) + 1, device=order.device)
        ends = torch.ones_like(starts)
        ends[:-1] = starts[1:]
        following = torch.where(ends, first, following)
        target = torch.arange(len(pools), device=pools.device)
        target[order] = order[following]
        return target

    @staticmethod
    def _metrics(
        batch: RolloutBatch, credit: Credit, alpha: Tensor, entropy: Tensor, counted: Tensor, guarded: Tensor
    ) -> Metrics:
        lengths = turn_sum(batch.trainable.to(alpha.dtype), batch.turn_ids, alpha.shape[1])
        sign = turn_mean(credit.advantages, batch.turn_ids, alpha.shape[1])
        known = torch.where(counted, entropy, torch.zeros_like(entropy))
        chosen = alpha[counted] if bool(counted.any()) else torch.ones_like(alpha[:1, 0])
        return {
            "alpha_min": chosen.min(),
            "alpha_max": chosen.max(),
            "alpha_std": chosen.std(correction=0),
            "alpha_token_mean": (alpha * lengths).sum() / lengths.sum().clamp(min=1),
            "guarded_share": masked_mean(guarded.view_as(counted).to(alpha.dtype), counted),
            "turn_entropy": masked_mean(known, counted),
            "turn_entropy_rewarded": masked_mean(known, counted & (sign > 0)),
            "turn_entropy_punished": masked_mean(known, counted & (sign < 0)),
            "invalid_entropies": ((lengths > 0) & ~entropy.isfinite()).sum(),
        }
