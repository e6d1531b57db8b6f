"""Trajectories by their entropies, and who is forked when chance is fixed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lightning_agentrl.branching.base import Frontier
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.types import Segment, Task, Trajectory, Turn

V = 151_665
"""Tokens of Qwen's tokenizer; ln V = 11.929429."""


class Draws(random.Random):
    """Draws one number again and again."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def random(self) -> float:
        return self.number


def trajectory(id: int, *turns: Sequence[float]) -> Trajectory:
    """A turn per list of entropies, two tokens of prompt and two of observation between turns."""
    made = [
        Turn(
            action=Segment((7,) * len(entropies), True, (-1.0,) * len(entropies), tuple(entropies)),
            observation=Segment((8, 8), sampled=False) if number + 1 < len(turns) else None,
        )
        for number, entropies in enumerate(turns)
    ]
    return Trajectory(id, 0, id, Task("t", ()), Segment((1, 2), sampled=False), tuple(made))


def forked(brancher: EntropyBranching, frontier: Frontier, draw: float) -> list[int]:
    """Who is forked when chance always draws the same number."""
    return sorted(point.parent for point in brancher.after_turn(frontier, Draws(draw)))
