"""Trajectories laid out as tensors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch, Signal

SHAPES = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=5)


def made(turns: list[list[int]]) -> RolloutBatch:
    return rollouts(turns, rewards=[0.0] * len(turns), answered=[len(row) % 2 == 0 for row in turns])


def test_layout_of_two_rows() -> None:
    batch = rollouts([[2, 1], [1]], rewards=[1, 0], prompt=2, observation=3)
    assert batch.turn_ids.tolist() == [[-1, -1, 0, 0, -1, -1, -1, 1], [-1, -1, 0, -1, -1, -1, -1, -1]]
    assert batch.attention_mask.sum(1).tolist() == [8, 3]
    assert batch.turn_ends.tolist() == [[2, 7, -1], [2, -1, -1]]
    assert batch.turn_mask.tolist() == [[True, True], [True, False]]
    assert batch.process_mask.tolist() == [[True, False], [False, False]]


@given(SHAPES)
def test_turn_ids_are_set_exactly_where_the_policy_spoke(turns: list[list[int]]) -> None:
    batch = made(turns)
    assert torch.equal(batch.turn_ids >= 0, batch.action_mask)
    assert batch.action_mask.sum(1).tolist() == [sum(row) for row in turns]


@given(SHAPES)
def test_logprobs_are_finite_and_zero_off_the_action_mask(turns: list[list[int]]) -> None:
    batch = made(turns)
    assert batch.sampling_logprobs.isfinite().all()
    assert not batch.sampling_logprobs[~batch.action_mask].any()
    assert not batch.sampling_logprobs[:, 0].any()


@given(SHAPES)
def test_a_turn_ends_where_its_observation_does(turns: list[list[int]]) -> None:
    batch = made(turns)
    assert torch.equal(batch.turn_ends[:, 1:] >= 0, batch.process_mask)
    starts = batch.turn_ends[:, :-1]
    for row, turn in batch.turn_mask.nonzero().tolist():
        if turn and turns[row][turn]:
            assert batch.turn_ids[row, starts[row, turn]] == turn


def test_selecting_and_trimming_keep_a_row_as_it_was() -> None:
    batch = rollouts([[1], [5, 5]], rewards=[1, 0])
    row = batch.select(torch.tensor([0])).trim()
    assert row.input_ids.shape == (1, 3)
    assert row.rewards.tolist() == [1.0]


def test_moving_a_batch_moves_every_tensor() -> None:
    batch = rollouts([[1]], rewards=[1], entropies=[[0.5]])
    moved = batch.to("meta")
    assert moved.input_ids.is_meta
    assert moved.entropies is not None
    assert moved.entropies.is_meta


def test_a_missing_signal_is_named_with_who_asked() -> None:
    batch = rollouts([[1]], rewards=[1], entropies=[[0.5]])
    with pytest.raises(ValueError, match=r"^Example needs old_logprobs, which"):
        batch.require(Signal.ENTROPIES | Signal.OLD_LOGPROBS, "Example")


def test_every_signal_stands_for_a_field_of_the_batch() -> None:
    for name in (~Signal.NONE).field_names:
        assert name in RolloutBatch.__dataclass_fields__


def test_branches_carry_their_parents_id_and_inherited_columns() -> None:
    batch = rollouts([[2], [2]], rewards=[1, 0], parents=[-1, 0], inherited=[0, 3])
    assert batch.parent_ids is not None
    assert batch.inherited is not None
    assert batch.parent_ids.tolist() == [-1, 0]
    assert batch.inherited.tolist() == [0, 3]


def test_an_empty_collection_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one trajectory"):
        collate([])


def test_a_list_of_the_wrong_length_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"entropies\[0\] must have one number per action token \(3\), got 2"):
        rollouts([[2, 1]], rewards=[1], entropies=[[0.1, 0.2]])
    with pytest.raises(ValueError, match="rewards must have one entry per trajectory"):
        rollouts([[2], [1]], rewards=[1])
