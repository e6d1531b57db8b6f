"""What is said of credit in numbers."""

from dataclasses import replace

import pytest
import torch

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.base import CreditAssigner, Reduce, one_rank
from lightning_agentrl.credit.diagnostics import correlation
from lightning_agentrl.credit.dr_grpo import DrGRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import Credit, RolloutBatch


def numbers(batch: RolloutBatch, assigner: CreditAssigner | None = None) -> dict[str, float]:
    return apply_credit(assigner or DrGRPO(), batch)[1]


class ByTurn(CreditAssigner):
    """Turn t earns t, counted from 1."""

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        return Credit(((batch.turn_ids + 1) * batch.action_mask).float())


def test_the_share_of_tokens_without_credit_counts_tokens() -> None:
    # Group 0 earns ±.5 on 1 and 2 tokens, group 1 nothing on 3 and 4.
    batch = rollouts([[1], [2], [3], [4]], [1, 0, 1, 1], groups=[0, 0, 1, 1])
    assert numbers(batch)["credit/zero_credit_share"] == pytest.approx(7 / 10)


def test_the_share_of_groups_without_variance_counts_groups_and_looks_at_outcomes() -> None:
    batch = rollouts([[1]] * 5, [1, 0.9, 1, 0, 1], groups=[0, 0, 0, 1, 1], outcomes=[1, 1, 1, 0, 1])
    assert numbers(batch)["credit/zero_variance_share"] == 0.5


def test_credit_that_grows_with_length_correlates_with_it() -> None:
    assert numbers(rollouts([[1], [2], [3]], [0, 1, 2]))["credit/length_correlation"] == pytest.approx(1)
    assert numbers(rollouts([[3], [2], [1]], [0, 1, 2]))["credit/length_correlation"] == pytest.approx(-1)


def test_correlation_with_what_does_not_vary_is_zero() -> None:
    assert correlation(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0])) == 0


def test_means_and_spreads_per_turn_are_over_the_rows_that_have_the_turn() -> None:
    found = numbers(rollouts([[1, 5], [2], [1, 1, 1]], [0, 0, 0]), ByTurn())
    assert [found[f"credit/turn_{turn}_mean"] for turn in (1, 2, 3)] == [1, 2, 3]
    assert [found[f"credit/turn_{turn}_std"] for turn in (1, 2, 3)] == [0, 0, 0]
    spread = numbers(rollouts([[1], [1]], [1, 0]))
    assert spread["credit/turn_1_std"] == pytest.approx(0.5)  # ±.5


def test_what_had_to_be_left_out_is_counted() -> None:
    found = numbers(rollouts([[0, 1], [1], [1]], [float("nan"), 1, 0], groups=[0, 0, 1]))
    assert found["credit/invalid_rewards"] == 1
    assert found["credit/lone_rollouts"] == 1
    assert found["credit/empty_actions"] == 1


def test_masked_rows_are_not_described() -> None:
    batch = rollouts([[1], [2]], [1, 0])
    masked = replace(batch, loss_mask=batch.action_mask & torch.tensor([[True], [False]]))
    assert numbers(masked)["credit/advantage_mean"] == 0.5
