"""REINFORCE leave-one-out: a rollout against the mean of the others."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_agentrl.credit.base import CreditAssigner, Reduce, one_rank
from lightning_agentrl.credit.grpo import outcome_credit
from lightning_agentrl.ops import pool_count, standardize
from lightning_agentrl.types import Credit, RolloutBatch


@dataclass(frozen=True)
class RLOO(CreditAssigner):
    """Every token of a trajectory earns R − mean of the group's other rewards (arXiv:2402.14740).

    That is n / (n − 1) times what Dr.GRPO gives. A lone rollout earns 0.

    Deviations: the paper's KL inside the reward is a term of the loss here.
    """

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Outcome credit, the same for every action token of a row."""
        size = pool_count(batch.group_ids, batch.rewards.isfinite())
        centered = standardize(batch.rewards, batch.group_ids, ddof=1, scale=False)
        return outcome_credit(centered * size / (size - 1).clamp(min=1), batch)
