"""The contract of a brancher: where rollouts of one prompt part."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lightning_agentrl.types import BranchPoint, RolloutBatch, Signal, Trajectory


class Branching(ABC):
    """Spends a budget of trajectories per prompt."""

    @property
    def requires(self) -> Signal:
        """Signals that `after_group` needs in its batch."""
        return Signal.NONE

    @abstractmethod
    def initial(self, budget: int) -> int:
        """How many roots to start for a prompt whose budget is ``budget`` trajectories."""

    def after_turn(self, frontier: Sequence[Trajectory], budget: int, rng: random.Random) -> list[BranchPoint]:
        """Branches to open once every live trajectory of a prompt has finished the same turn."""
        return []

    def after_group(self, batch: RolloutBatch, budget: int, rng: random.Random) -> list[BranchPoint]:
        """Branches to open at any token of finished rollouts."""
        return []
