"""Random ragged batches in float64, with every signal there is, for slow loops to be compared with."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

MANY = settings(max_examples=100, deadline=None, derandomize=True)
"""What a comparison with a slow loop runs on."""


def random_batch(seed: int, branches: bool = False) -> RolloutBatch:
    """One to three groups of one to five rows, one to four turns each; some turns empty, some rewards equal.

    With ``branches``, some rows are copies of an earlier row of their group up to a column, their own from there on.
    """
    rng = random.Random(seed)
    rows: list[list[int]] = []
    groups: list[int] = []
    parents: list[int] = []
    inherited: list[int] = []
    for group in rng.sample(range(50), rng.randint(1, 3)):
        first = len(rows)
        for _ in range(rng.randint(1, 5)):
            turns = [rng.choice([0, 1, 1, 2, 3]) for _ in range(rng.randint(1, 4))]
            parent = rng.choice([-1, rng.randrange(first, len(rows))]) if branches and len(rows) > first else -1
            column = 0
            if parent >= 0:
                turns, column = _branch(rows[parent], turns, rng)
            rows.append(turns)
            groups.append(group)
            parents.append(parent)
            inherited.append(column)
    pool = [0.0, 1.0, rng.random(), rng.uniform(-2, 2)]
    batch = rollouts(
        rows,
        rewards=[rng.choice(pool) for _ in rows],
        groups=groups,
        answered=[rng.random() < 0.8 for _ in rows],
        truncated=[rng.random() < 0.2 for _ in rows],
        turn_rewards=[[rng.choice([0.0, rng.random()]) for _ in row] for row in rows],
        turn_penalties=[[rng.choice([0.0, 0.1]) for _ in row] for row in rows],
        parents=parents,
        inherited=inherited,
        state_keys=[[rng.randrange(3) for _ in row] for row in rows],
    )
    generator = torch.Generator().manual_seed(seed)

    def tokens(scale: float = 1.0) -> Tensor:
        values = torch.randn(batch.input_ids.shape, generator=generator, dtype=torch.float64) * scale
        return values * batch.action_mask

    old = -tokens().abs()
    scores = -torch.rand(batch.turn_ends.shape, generator=generator, dtype=torch.float64) * 3
    scores[torch.rand(scores.shape, generator=generator) < 0.1] = -1.5  # some gains are exactly 0
    full = replace(
        batch,
        old_logprobs=old,
        current_logprobs=old + tokens(0.1),
        ref_logprobs=old + tokens(0.1),
        sampling_logprobs=old + tokens(0.01),
        entropies=tokens().abs(),
        sampling_entropies=tokens().abs(),
        answer_logprobs=scores.masked_fill(batch.turn_ends < 0, math.nan),
    )
    return _share_prefixes(full._map(lambda t: t.double() if t.is_floating_point() else t))


def _branch(parent: list[int], own: list[int], rng: random.Random) -> tuple[list[int], int]:
    """Turns of a row that leaves its parent inside, before or after one of the parent's turns; and the column."""
    turn = rng.randrange(len(parent))
    kept = rng.randint(0, parent[turn])
    column = 2 + sum(size + 2 for size in parent[:turn]) + kept  # prompt and observations of two tokens
    return [*parent[:turn], kept + own[0], *own[1:]], column


def _share_prefixes(batch: RolloutBatch) -> RolloutBatch:
    """Give inherited tokens and turns the very numbers of the row that they were copied from."""
    assert batch.parent_ids is not None
    assert batch.inherited is not None
    fields = ("old_logprobs", "current_logprobs", "ref_logprobs", "sampling_logprobs", "entropies")
    copies = {name: getattr(batch, name).clone() for name in (*fields, "sampling_entropies", "answer_logprobs")}
    ids = batch.trajectory_ids.tolist()
    for row, (parent, column) in enumerate(zip(batch.parent_ids.tolist(), batch.inherited.tolist(), strict=True)):
        if parent < 0:
            continue
        source = ids.index(parent)
        for name in (*fields, "sampling_entropies"):
            copies[name][row, :column] = copies[name][source, :column]
        shared = (batch.turn_ends[row] >= 0) & (batch.turn_ends[row] <= column)
        copies["answer_logprobs"][row, shared] = copies["answer_logprobs"][source, shared]
    return replace(batch, **copies)


def batches(branches: bool = False) -> st.SearchStrategy[RolloutBatch]:
    """Random batches; hypothesis shrinks towards seed 0."""
    return st.integers(0, 2**31).map(lambda seed: random_batch(seed, branches))
