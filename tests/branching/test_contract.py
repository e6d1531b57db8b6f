"""What every brancher promises: within the budget, at allowed tokens, by its generator alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.types import RolloutBatch, Signal

FEW = settings(MANY, max_examples=50)
BRANCHERS = [
    Independent(),
    EntropyBranching(),
    ProceduralBranching(branches=1, distance=2),
    ProceduralBranching(branches=7, prefix="include", source="mismatch", scope="prompt", half_life=None),
    ProceduralBranching(branches=3, source="entropy", positions="sampled"),
]


@pytest.mark.parametrize("brancher", BRANCHERS, ids=lambda brancher: type(brancher).__name__)
def test_roots_leave_the_rest_of_the_budget(brancher: Branching) -> None:
    assert 1 <= brancher.initial(8) <= 8


def test_independent_rollouts_spend_it_all() -> None:
    assert Independent().initial(7) == 7
    assert (Independent().requires, Independent().top_logprobs, Independent().schedule) == (
        Signal.NONE,
        0,
        "collection",
    )


@FEW
@given(batches(), st.sampled_from(BRANCHERS), st.integers(0, 6), st.integers(0, 9))
def test_branches_start_at_open_tokens_within_the_budget(
    batch: RolloutBatch, brancher: Branching, budget: int, seed: int
) -> None:
    closed = torch.rand(batch.action_mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    where = batch.action_mask & ~closed
    points = brancher.after_group(batch, where, budget, random.Random(seed))
    assert len(points) <= budget
    rows = batch.trajectory_ids.tolist()
    assert all(where[rows.index(point.parent), point.column - brancher.ahead] for point in points)
    assert len({(point.parent, point.column) for point in points}) == len(points)
    assert points == brancher.after_group(batch, where, budget, random.Random(seed))
