"""Dr.GRPO: GRPO without the division that favours easy and hard prompts."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_agentrl.credit.base import CreditAssigner, Reduce, one_rank
from lightning_agentrl.credit.grpo import outcome_credit
from lightning_agentrl.ops import standardize
from lightning_agentrl.types import Credit, RolloutBatch


@dataclass(frozen=True)
class DrGRPO(CreditAssigner):
    """Every token of a trajectory earns R − mean of its group (arXiv:2503.20783, §3.2).

    The scale of the rewards goes straight into the step: rewards of 10 instead of 1 move the policy ten times as far.
    The other half of the method is its aggregation, ``constant``, which the recipe sets.

    Deviations: none.
    """

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Outcome credit, the same for every action token of a row."""
        return outcome_credit(standardize(batch.rewards, batch.group_ids, ddof=1, scale=False), batch)
