"""Reductions: hand-sized numbers."""

import torch

from lightning_agentrl import ops

TURNS = torch.tensor([[-1, 0, 0, -1, 1], [-1, 0, -1, -1, -1]])


def test_turn_sum_ignores_tokens_outside_turns_even_when_they_are_nan() -> None:
    values = torch.tensor([[float("nan"), 1.0, 2.0, float("nan"), 4.0], [float("inf"), 8.0, 0.0, 0.0, 0.0]])
    assert ops.turn_sum(values, TURNS, 2).tolist() == [[3.0, 4.0], [8.0, 0.0]]


def test_turn_mean_of_an_empty_turn_is_zero() -> None:
    values = torch.tensor([[9.0, 1.0, 2.0, 9.0, 4.0], [9.0, 8.0, 9.0, 9.0, 9.0]])
    assert ops.turn_mean(values, TURNS, 3).tolist() == [[1.5, 4.0, 0.0], [8.0, 0.0, 0.0]]


def test_per_token_spreads_a_turns_value_and_leaves_zero_elsewhere() -> None:
    spread = ops.per_token(torch.tensor([[5.0, 7.0], [3.0, 1.0]]), TURNS)
    assert spread.tolist() == [[0.0, 5.0, 5.0, 0.0, 7.0], [0.0, 3.0, 0.0, 0.0, 0.0]]


def test_masked_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([float("nan"), 2.0])
    assert ops.masked_mean(values, torch.tensor([False, False])).item() == 0.0


def test_group_statistics_do_not_depend_on_where_a_groups_rows_are() -> None:
    values = torch.tensor([1.0, 10.0, 3.0, 20.0])
    groups = torch.tensor([7, 2, 7, 2])
    assert ops.group_mean(values, groups).tolist() == [2.0, 15.0, 2.0, 15.0]
    # Sample standard deviation: sqrt(((1−2)² + (3−2)²) / 1) = √2; sqrt(2·5²) = 5√2.
    torch.testing.assert_close(ops.group_std(values, groups), torch.tensor([2.0, 50.0, 2.0, 50.0]).sqrt())
    assert ops.group_range(values, groups).tolist() == [2.0, 10.0, 2.0, 10.0]


def test_group_std_of_a_single_row_is_zero() -> None:
    assert ops.group_std(torch.tensor([5.0]), torch.tensor([0])).tolist() == [0.0]
