"""Rollouts by their entropies and by how far the policy has moved, and the columns that are chosen of them."""

from __future__ import annotations

import random
from typing import Any

from torch import Tensor

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import BranchPoint, RolloutBatch

# A response of ten tokens, of which a tool wrote the fourth and fifth: entropies, and how far the policy has moved.
ENTROPIES = [0.10, 1.60, 0.05, 2.10, 0.30, 1.90, 0.20, 1.20]
MOVED = [0.02, 0.09, -0.03, 0.06, -0.02, -0.12, 0.05, 0.04]
RESPONSE = [2, 3, 4, 7, 8, 9, 10, 11]
"""Columns of the eight, behind two tokens of prompt."""


def rows(*entropies: list[float], moved: list[list[float]] | None = None, **shape: Any) -> RolloutBatch:
    """Rollouts in double precision, of one turn each unless told otherwise."""
    moved = moved or [[0.0] * len(each) for each in entropies]
    made = rollouts(
        shape.pop("turns", [[len(each)] for each in entropies]),
        rewards=[0.0] * len(entropies),
        entropies=entropies,
        old_logprobs=[[-1.0] * len(each) for each in entropies],
        current_logprobs=[[-1.0 + delta for delta in each] for each in moved],
        ref_logprobs=[[-1.0] * len(each) for each in entropies],
        **shape,
    )
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def example() -> RolloutBatch:
    return rows(ENTROPIES, moved=[MOVED], turns=[[3, 5]])


def choose(
    brancher: ProceduralBranching, batch: RolloutBatch, budget: int = 99, open_at: Tensor | None = None
) -> list[BranchPoint]:
    """Branches where every sampled token would do."""
    where = batch.action_mask if open_at is None else open_at
    return brancher.after_group(batch, where, budget, random.Random(0))


def columns(*arguments: Any, **options: Any) -> list[int]:
    return [point.column for point in choose(*arguments, **options)]
