"""How long trajectories are, how they end, and what cut them off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_agentrl.metrics.table import Table
from lightning_agentrl.types import StopReason, Trajectory

REASONS = tuple(StopReason)
"""Stop reasons by their number."""


class Turns(Table):
    """Turns and tokens of trajectories.

    ``turns``, ``turns_max``, ``tool_turns``
        mean and greatest number of turns; mean number of those that an observation followed.
    ``tokens``, ``tokens_per_turn``
        mean number of tokens that the policy said in a trajectory, and in a turn of any trajectory.
    ``length``, ``length_max``
        mean and greatest number of all tokens, prompt and observations included.
    ``generated_tokens``
        sum of the tokens that were sampled: those that branches inherited count once.
    """

    columns: ClassVar = dict.fromkeys(("turns", "tool_turns", "tokens", "lengths", "generated"), torch.int64)

    def __init__(self, section: str = "rollout") -> None:
        super().__init__(section)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add trajectories."""
        self.add_rows(
            turns=[len(trajectory.turns) for trajectory in trajectories],
            tool_turns=[sum(turn.observation is not None for turn in trajectory.turns) for trajectory in trajectories],
            tokens=[sum(len(turn.action) for turn in trajectory.turns) for trajectory in trajectories],
            lengths=[sum(map(len, trajectory.segments)) for trajectory in trajectories],
            generated=[sum(count for _, count in trajectory.own_turns) for trajectory in trajectories],
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        turns, tokens, lengths = self.column("turns"), self.column("tokens"), self.column("lengths")
        if not len(turns):
            return {}
        return {
            "turns": turns.double().mean(),
            "turns_max": turns.max(),
            "tool_turns": self.column("tool_turns").double().mean(),
            "tokens": tokens.double().mean(),
            "tokens_per_turn": tokens.sum() / turns.sum(),  # without any turn 0 / 0, which is left out
            "length": lengths.double().mean(),
            "length_max": lengths.max(),
            "generated_tokens": self.column("generated").sum(),
        }


class Truncation(Table):
    """What limits cut: ``truncated_share`` of the trajectories, ``cut_turn_share`` of the turns."""

    columns: ClassVar = {"cut_off": torch.uint8, "cut_turns": torch.int64, "all_turns": torch.int64}
    higher_is_better = False

    def __init__(self, section: str = "rollout") -> None:
        super().__init__(section)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add trajectories."""
        self.add_rows(
            cut_off=[trajectory.stop.truncated for trajectory in trajectories],
            cut_turns=[sum(turn.stop.truncated for turn in trajectory.turns) for trajectory in trajectories],
            all_turns=[len(trajectory.turns) for trajectory in trajectories],
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        return {
            "truncated_share": self.column("cut_off").double().mean(),
            "cut_turn_share": self.column("cut_turns").sum() / self.column("all_turns").sum(),
        }


class StopReasons(Table):
    """Share of the trajectories that stopped for each reason, ``stop_<reason>``; 0 for one that did not occur."""

    columns: ClassVar = {"reasons": torch.int64}

    def __init__(self, section: str = "rollout") -> None:
        super().__init__(section)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add trajectories."""
        self.add_rows(reasons=[REASONS.index(trajectory.stop) for trajectory in trajectories])

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        reasons = self.column("reasons")
        return {f"stop_{reason}": (reasons == number).double().mean() for number, reason in enumerate(REASONS)}
