"""Group-relative policy optimization: an outcome against its siblings (arXiv:2402.03300)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lightning_agentrl.credit.base import CreditAssigner, Reduce, identity
from lightning_agentrl.ops import group_mean, group_range, group_std
from lightning_agentrl.types import Credit, RolloutBatch


@dataclass(frozen=True)
class GRPO(CreditAssigner):
    """Every token of a trajectory earns (R − mean of its group) / (std of its group + eps) (arXiv:2402.03300, §4.1.2).

    A group whose rewards are all equal, a group of one included, earns exactly 0.
    """

    normalize_std: bool = True
    """Divide by the group's standard deviation; off gives the numerator of Dr.GRPO (arXiv:2503.20783)."""
    ddof: int = 1
    """1: sample standard deviation, as verl and TRL compute it; 0: population."""
    eps: float = 1e-6
    """Added to the standard deviation."""

    def __post_init__(self) -> None:
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 (population) or 1 (sample), got {self.ddof}.")
        if self.eps < 0:
            raise ValueError(f"eps must not be negative, got {self.eps}.")

    def __call__(self, batch: RolloutBatch, *, all_sum: Reduce = identity) -> Credit:
        """Outcome credit, the same for every action token of a row."""
        advantage = batch.rewards - group_mean(batch.rewards, batch.group_ids)  # [N]
        if self.normalize_std:
            advantage = advantage / (group_std(batch.rewards, batch.group_ids, self.ddof) + self.eps)
        # The mean of equal floats can differ from them by a rounding error, which a tiny std would blow up to ±1.
        informative = group_range(batch.rewards, batch.group_ids) > 0
        advantage = torch.where(informative, advantage, torch.zeros_like(advantage))
        return Credit(
            advantages=advantage[:, None] * batch.action_mask,
            components={"outcome": advantage[:, None] * batch.turn_mask},
        )
