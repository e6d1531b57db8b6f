"""Whether the rollouts of a group differ enough to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_agentrl.metrics.table import Table
from lightning_agentrl.ops import pool_extremes, pool_index, pool_std
from lightning_agentrl.types import RolloutBatch, Trajectory

Grouped = Sequence[Trajectory] | RolloutBatch
"""Whole groups: an update never sees a part of one, and groups of one number in two updates are two groups."""


class ZeroVarianceShare(Table):
    """Share of groups whose finite outcomes are all equal, ``zero_variance_share``: a group baseline gives them 0.

    A group of one is such a group, and so is one without a finite outcome.
    """

    columns: ClassVar = {"equal": torch.uint8}
    higher_is_better = False

    def __init__(self, section: str = "reward") -> None:
        super().__init__(section)

    def update(self, rollouts: Grouped) -> None:
        """Add whole groups."""
        groups, outcomes = _ids(rollouts), _outcomes(rollouts)
        low, high = pool_extremes(outcomes, groups, outcomes.isfinite())
        self.add_rows(equal=~(high > low)[_one_of_each(groups)])

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        return {"zero_variance_share": self.column("equal").double().mean()}


class GroupStd(Table):
    """Mean over groups of the population standard deviation of their finite shaped rewards, ``group_std``.

    A group without a finite reward is left out.
    """

    columns: ClassVar = {"spreads": torch.float32}

    def __init__(self, section: str = "reward") -> None:
        super().__init__(section)

    def update(self, rollouts: Grouped) -> None:
        """Add whole groups."""
        rewards = _rewards(rollouts)
        finite = rewards.isfinite()
        groups = _ids(rollouts)[finite]
        self.add_rows(spreads=pool_std(rewards[finite], groups, ddof=0)[_one_of_each(groups)])

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        return {"group_std": self.column("spreads").double().mean()}


def _one_of_each(groups: Int[Tensor, " N"]) -> Int[Tensor, " G"]:
    """A row of each group."""
    index, count = pool_index(groups)
    return torch.empty(count, dtype=torch.int64).scatter_(0, index, torch.arange(len(index)))


def _ids(rollouts: Grouped) -> Int[Tensor, " N"]:
    if isinstance(rollouts, RolloutBatch):
        return rollouts.group_ids.cpu()
    return torch.tensor([trajectory.group for trajectory in rollouts], dtype=torch.int64)


def _outcomes(rollouts: Grouped) -> Float[Tensor, " N"]:
    if isinstance(rollouts, RolloutBatch):
        return rollouts.outcomes.cpu()
    # As in a batch: 0.1 + 0.2 and 0.3 are one outcome.
    return torch.tensor([trajectory.outcome for trajectory in rollouts], dtype=torch.float32)


def _rewards(rollouts: Grouped) -> Float[Tensor, " N"]:
    if isinstance(rollouts, RolloutBatch):
        return rollouts.rewards.cpu().double()
    shaped = [trajectory.reward.shaped if trajectory.reward else 0.0 for trajectory in rollouts]
    return torch.tensor(shaped, dtype=torch.float64)
