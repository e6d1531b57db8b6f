"""How long a trajectory was beyond what is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_agentrl.rewards.base import RewardFunction
from lightning_agentrl.types import Trajectory


@dataclass(frozen=True)
class Length(RewardFunction):
    """0 up to ``free``, then up by 1 / ``per`` for each further token, turn or call, to ``most`` at last.

    Give it a negative weight. A²TGPO's penalty of long rollouts is ``free: 2096``, ``per: 4096``, ``weight: -1``.
    """

    free: int
    """How much costs nothing, at least 0."""
    per: int = 1
    """Over how much more it grows by 1, at least 1."""
    unit: Literal["tokens", "turns", "calls"] = "tokens"
    """What is counted: sampled tokens, turns, or tool calls."""
    most: float | None = 1.0
    """Greatest value; null sets none."""

    def __post_init__(self) -> None:
        if self.free < 0 or self.per < 1 or (self.most is not None and self.most <= 0):
            raise ValueError(f"Length needs free ≥ 0, per ≥ 1 and a positive most, got {self}.")

    @property
    def name(self) -> str:
        """What it is logged as."""
        return f"long_{self.unit}"

    async def __call__(self, trajectory: Trajectory) -> float:
        """How much too long."""
        excess = max(self._count(trajectory) - self.free, 0) / self.per
        return excess if self.most is None else min(excess, self.most)

    def _count(self, trajectory: Trajectory) -> int:
        if self.unit == "turns":
            return len(trajectory.turns)
        if self.unit == "calls":
            return sum(len(turn.tool_calls) for turn in trajectory.turns)
        return sum(len(turn.action) for turn in trajectory.turns)
