"""Several batches as one, and back."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.rollout.joining import joined
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

FEW = settings(MANY, max_examples=50)


@FEW
@given(st.lists(batches(branches=True), min_size=1, max_size=3))
def test_each_part_comes_back_as_it_was(parts: list[RolloutBatch]) -> None:
    whole = joined(parts)
    start = 0
    for part in parts:
        back = whole.select(torch.arange(start, start + len(part)))
        start += len(part)
        for field in fields(RolloutBatch):
            expected, found = getattr(part, field.name), getattr(back, field.name)
            if isinstance(expected, Tensor):
                own = found[tuple(slice(size) for size in expected.shape)]
                torch.testing.assert_close(own, expected, rtol=0, atol=0, equal_nan=True)
                beyond = found.clone()
                beyond[tuple(slice(size) for size in expected.shape)] = found.new_zeros(())
                empty = {"turn_ids": -1.0, "turn_ends": -1.0}.get(field.name, 0.0)
                assert set(beyond[~beyond.isnan()].unique().tolist()) <= {0.0, empty}
        torch.testing.assert_close(back.trim().input_ids, part.trim().input_ids)
    assert start == len(whole)


def test_shorter_rows_are_filled_up_with_what_means_nothing() -> None:
    short = rollouts([[1]], rewards=[1.0], prompt=1, answer_logprobs=[[-1.0]], answered=[True])
    long = rollouts([[2, 3]], rewards=[0.0], prompt=1, answer_logprobs=[[-1.0, -2.0]])
    whole = joined([short, long])
    # The short row has two columns of eight and one turn of two.
    assert whole.attention_mask[0].tolist() == [True] * 2 + [False] * 6
    assert whole.action_mask[0].tolist() == [False, True] + [False] * 6
    assert whole.turn_ids[0].tolist() == [-1, 0] + [-1] * 6
    assert whole.turn_ends[0].tolist() == [1, -1, -1]
    assert whole.turn_mask[0].tolist() == [True, False]
    assert whole.answer_logprobs is not None
    assert whole.answer_logprobs[0, 1:].isnan().all()
    assert whole.rewards.tolist() == [1.0, 0.0]


def test_a_field_that_only_some_parts_have_is_filled_up_for_the_others() -> None:
    scored = rollouts([[2]], rewards=[1.0], old_logprobs=[[-1.0, -2.0]], answer_logprobs=[[-1.0]])
    other = replace(rollouts([[2]], rewards=[0.0]), parent_ids=None)
    whole = joined([scored, other])
    assert whole.old_logprobs is not None
    assert whole.old_logprobs.tolist() == [[0, 0, -1, -2], [0, 0, 0, 0]]
    assert whole.answer_logprobs is not None
    assert [math.isnan(value) for value in whole.answer_logprobs[:, 0].tolist()] == [False, True]
    assert whole.parent_ids is not None
    assert whole.parent_ids.tolist() == [-1, -1]  # roots
    assert whole.entropies is None  # nobody has any


def test_a_field_of_the_shorter_rows_alone_is_as_wide_as_the_longer_ones() -> None:
    """Roots are scored, and a branch that is not may be longer than they are."""
    root = rollouts([[1]], rewards=[1.0], entropies=[[2.0]], answer_logprobs=[[-1.0]], state_keys=[[3]])
    branch = replace(rollouts([[1, 4]], rewards=[0.0]), state_keys=None)
    whole = joined([root, branch])
    assert whole.entropies is not None
    assert whole.answer_logprobs is not None
    assert whole.state_keys is not None
    assert whole.entropies.shape == whole.input_ids.shape
    assert whole.answer_logprobs.shape == whole.turn_ends.shape
    assert whole.state_keys.tolist() == [[3, 0], [0, 0]]


def test_probes_of_other_lengths_keep_their_place() -> None:
    def with_probes(*shape: int) -> RolloutBatch:
        ids = torch.ones(1, *shape, dtype=torch.int64)
        return replace(rollouts([[1]], rewards=[0.0]), probe_ids=ids, probe_scored=ids.bool())

    whole = joined([with_probes(1, 3), with_probes(2, 1)])
    assert whole.probe_scored is not None
    assert whole.probe_scored.int().tolist() == [[[1, 1, 1], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]]]


def test_what_is_off_stays_off_and_the_others_are_trained() -> None:
    silent = rollouts([[2]], rewards=[1.0])
    silent = replace(silent, loss_mask=torch.zeros_like(silent.action_mask))
    spoken = rollouts([[1, 1]], rewards=[1.0])
    whole = joined([spoken, silent])
    assert whole.loss_mask is not None
    assert torch.equal(whole.loss_mask[0], whole.action_mask[0])
    assert not whole.loss_mask[1].any()
    assert joined([spoken, spoken]).loss_mask is None


def test_components_are_joined_by_name() -> None:
    one = replace(rollouts([[1]], rewards=[0.0]), components={"a": torch.tensor([[1.0]])})
    two = replace(rollouts([[1, 1]], rewards=[0.0]), components={"b": torch.tensor([[2.0, 3.0]])})
    components = {name: values.tolist() for name, values in joined([one, two]).components.items()}
    assert components == {"a": [[1, 0], [0, 0]], "b": [[0, 0], [2, 3]]}
