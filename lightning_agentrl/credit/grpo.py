"""Group Relative Policy Optimization: a rollout against its siblings."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, one_rank
from lightning_agentrl.ops import standardize
from lightning_agentrl.types import Credit, RolloutBatch


@dataclass(frozen=True)
class GRPO(CreditAssigner):
    """Every token of a trajectory earns (R − mean of its group) / (std of its group + eps) (arXiv:2402.03300, §4.1.2).

    A group whose rewards are all equal, a group of one included, earns exactly 0.

    Deviations: a lone rollout earns 0, where verl gives it its raw reward.
    """

    normalize_std: bool = True
    """Divide by the group's standard deviation; off gives the numerator of Dr.GRPO (arXiv:2503.20783)."""
    ddof: int = 1
    """1: sample standard deviation, as verl and TRL compute it; 0: population."""
    eps: float = 1e-6
    """Added to the standard deviation."""

    def __post_init__(self) -> None:
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps)

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Outcome credit, the same for every action token of a row."""
        advantage = standardize(
            batch.rewards, batch.group_ids, ddof=self.ddof, eps=self.eps, scale=self.normalize_std
        )  # [N]
        return outcome_credit(advantage, batch)


def outcome_credit(advantage: Float[Tensor, " N"], batch: RolloutBatch) -> Credit:
    """One number per trajectory as the credit of each of its tokens."""
    return Credit(
        advantages=advantage[:, None] * batch.action_mask,
        components={"outcome": advantage[:, None] * batch.turn_mask},
    )
