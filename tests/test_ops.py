"""Reductions: hand-sized numbers."""

import pytest
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


def test_pools_do_not_depend_on_where_their_entries_are() -> None:
    values = torch.tensor([1.0, 10.0, 3.0, 20.0])
    groups = torch.tensor([7, 2, 7, 2])
    assert ops.pool_mean(values, groups).tolist() == [2.0, 15.0, 2.0, 15.0]
    # Sample standard deviation: sqrt(((1−2)² + (3−2)²) / 1) = √2; sqrt(2·5²) = 5√2.
    torch.testing.assert_close(ops.pool_std(values, groups), torch.tensor([2.0, 50.0, 2.0, 50.0]).sqrt())
    low, high = ops.pool_extremes(values, groups)
    assert (low.tolist(), high.tolist()) == ([1.0, 10.0, 1.0, 10.0], [3.0, 20.0, 3.0, 20.0])


def test_the_std_of_a_pool_of_one_is_zero() -> None:
    assert ops.pool_std(torch.tensor([5.0]), torch.tensor([0])).tolist() == [0.0]


def test_only_what_is_counted_makes_up_a_pool() -> None:
    values, ids = torch.tensor([1.0, 3.0, 50.0, 7.0]), torch.tensor([0, 0, 0, 1])
    counted = torch.tensor([True, True, False, False])
    assert ops.pool_sum(values, ids, counted).tolist() == [4.0, 4.0, 4.0, 0.0]
    assert ops.pool_count(ids, counted).tolist() == [2, 2, 2, 0]
    # Mean 2, population std 1; 50 is measured against them, and the pool of nothing gives 0.
    assert ops.standardize(values, ids, counted, ddof=0).tolist() == [-1.0, 1.0, 48.0, 0.0]


def test_equal_values_are_standardized_to_exactly_zero() -> None:
    # 0.9 is not a binary fraction: the mean of three differs from it in the last bit of a float32.
    assert not ops.standardize(torch.tensor([0.9, 0.9, 0.9]), torch.tensor([0, 0, 0]), ddof=1).any()


def test_values_that_are_not_finite_are_no_part_of_their_pool() -> None:
    values = torch.tensor([1.0, float("nan"), 3.0, float("inf")])
    assert ops.standardize(values, torch.zeros(4, dtype=torch.int64), ddof=0).tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_a_floor_keeps_noise_small() -> None:
    values, ids = torch.tensor([0.0, 2e-6]), torch.tensor([0, 0])
    # Population std 1e-6; the floor 1e-3 makes ±1e-6 / 1e-3 of it.
    torch.testing.assert_close(ops.standardize(values, ids, ddof=0, floor=1e-3), torch.tensor([-1e-3, 1e-3]))


def test_suffix_sums_equal_the_loop() -> None:
    values = torch.randn(3, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for gamma in (1.0, 0.7, 0.0):
        expected, running = torch.zeros_like(values), torch.zeros(3, dtype=torch.float64)
        for column in reversed(range(13)):
            running = values[:, column] + gamma * running
            expected[:, column] = running
        torch.testing.assert_close(ops.suffix_sum(values, gamma), expected)


def test_masked_suffix_sums_step_over_what_is_not_masked() -> None:
    values = torch.tensor([[float("nan"), 1.0, 100.0, 2.0, 100.0, 4.0]])
    mask = torch.tensor([[False, True, False, True, False, True]])
    # 4; 2 + 4/2 = 4; 1 + 4/2 = 3.
    assert ops.masked_suffix_sum(values, mask, 0.5).tolist() == [[0.0, 3.0, 0.0, 4.0, 0.0, 4.0]]


def test_a_token_belongs_to_the_row_in_which_it_was_sampled() -> None:
    # B leaves A at column 2, C leaves B at column 3: C's columns 0, 1 are A's, column 2 is B's.
    owners = ops.owner_rows(torch.tensor([10, 11, 12]), torch.tensor([-1, 10, 11]), torch.tensor([0, 2, 3]), 4)
    assert owners.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 2]]


def test_a_branch_without_its_parent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"parents \[10\] of \[11\] are not in the batch"):
        ops.owner_rows(torch.tensor([11]), torch.tensor([10]), torch.tensor([2]), 4)


def test_a_turn_is_owned_unless_all_of_it_was_inherited() -> None:
    # Turns end at 5 and 9; the third has no observation. Inherited up to 9, up to 8, and nothing.
    ends = torch.tensor([[2, 5, 9, -1]] * 3)
    assert ops.owned_turns(ends, torch.tensor([9, 8, 0])).tolist() == [
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]
