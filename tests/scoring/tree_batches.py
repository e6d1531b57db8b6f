"""Random rollouts whose rows share prefixes: siblings, branches, twins and probes."""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from hypothesis import settings
from hypothesis import strategies as st
from random_batches import random_batch

from lightning_agentrl.types import RolloutBatch

SOME = settings(max_examples=25, deadline=None, derandomize=True)
"""Each example runs a policy forwards and backwards."""
ALIASES, LENGTH = 2, 4


def tree_batch(seed: int) -> RolloutBatch:
    """Random rows with tokens from an alphabet of four, some of them copied from another row; up to two probes a row.

    A group's rows share its prompt and its probes. Rows are shuffled, and up to three columns wider than they need be.
    """
    rng = random.Random(seed)
    batch = random_batch(seed, branches=True)
    assert batch.inherited is not None
    assert batch.parent_ids is not None
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 4, batch.input_ids.shape, generator=generator)
    probes = torch.randint(0, 4, (len(batch), ALIASES, LENGTH), generator=generator)
    scored = torch.rand(probes.shape, generator=generator) < 0.4
    leaders: dict[int, int] = {}
    for row, group in enumerate(batch.group_ids.tolist()):
        leader = leaders.setdefault(group, row)
        ids[row, :2] = ids[leader, :2]
        probes[row], scored[row] = probes[leader], scored[leader]
        parent, column = int(batch.parent_ids[row]), int(batch.inherited[row])
        if parent >= 0:
            ids[row, :column] = ids[parent, :column]
    batch = replace(batch, input_ids=ids, probe_ids=probes, probe_scored=scored)
    batch = batch._map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    order = torch.randperm(len(batch), generator=generator)
    return widened(batch.select(order), rng.randrange(4))


def widened(batch: RolloutBatch, columns: int) -> RolloutBatch:
    """With that many more columns of padding, full of tokens that nobody may see."""
    pad = torch.nn.functional.pad
    return replace(
        batch,
        input_ids=pad(batch.input_ids, (0, columns), value=7),
        attention_mask=pad(batch.attention_mask, (0, columns)),
        action_mask=pad(batch.action_mask, (0, columns)),
        turn_ids=pad(batch.turn_ids, (0, columns), value=-1),
        sampling_logprobs=pad(batch.sampling_logprobs, (0, columns)),
        old_logprobs=None if batch.old_logprobs is None else pad(batch.old_logprobs, (0, columns)),
        current_logprobs=None,
        ref_logprobs=None,
        entropies=None,
        sampling_entropies=None,
        answer_logprobs=None,
    )


seeds = st.integers(0, 2**31)
budgets = st.one_of(st.none(), st.integers(1, 120))
