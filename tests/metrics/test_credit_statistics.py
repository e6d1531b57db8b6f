"""Where in a trajectory credit falls."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from metric_cases import measured

from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.metrics import CreditStatistics
from lightning_agentrl.ops import per_token
from lightning_agentrl.testing import rollouts


def given(credit: list[list[float]], lengths: list[list[int]], outcomes: list[float], groups: list[int] | None = None):
    """A batch in which each turn's tokens have the turn's credit."""
    batch = rollouts(lengths, outcomes, groups)
    width = batch.turn_mask.shape[1]
    turns = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in credit])
    return replace(batch, advantages=per_token(turns, batch.turn_ids), loss_mask=batch.action_mask)


def test_turns_without_credit_are_counted():
    batch = given([[1.0, 0.0], [0.0, 0.0]], [[1, 3], [2, 1]], [1, 0])
    assert measured(CreditStatistics(), batch)["credit/nonzero_turn_share"] == 0.25


def test_entropy_says_over_how_many_turns_credit_is_spread():
    batch = given([[1.0, -1.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]], [[1, 1, 1, 1], [1, 1, 1, 1]], [1, 0])
    found = measured(CreditStatistics(), batch)
    assert found["credit/turn_share_entropy"] == pytest.approx(math.log(2) / 2)  # ln 2 and 0
    assert found["credit/turn_evenness"] == pytest.approx(1 / 4)  # half of ln 4, and 0


def test_rows_of_one_turn_or_without_credit_have_no_entropy():
    assert "credit/turn_share_entropy" not in measured(
        CreditStatistics(), given([[1.0], [0.0, 0.0]], [[2], [1, 1]], [1, 0])
    )


def test_entropy_does_not_depend_on_the_size_of_credit():
    shares = [[1.0, 3.0]]
    plain = measured(CreditStatistics(), given(shares, [[1, 1]], [1]))
    for factor in (1e-30, 1e30):
        scaled = given([[factor * each for each in shares[0]]], [[1, 1]], [1])
        assert measured(CreditStatistics(), scaled)["credit/turn_share_entropy"] == pytest.approx(
            plain["credit/turn_share_entropy"]
        )


def test_signs_are_compared_with_what_the_outcome_was_worth_in_its_group():
    # The first row is above its group's mean, the second below; the third is alone and has nothing to be compared with.
    batch = given([[1.0, -1.0], [-2.0, 0.0], [5.0]], [[1, 1], [1, 1], [1]], [3, 2, 1], [0, 0, 1])
    assert measured(CreditStatistics(), batch)["credit/sign_agreement"] == pytest.approx(2 / 3)


def test_an_outcome_baseline_agrees_and_is_even():
    batch, _ = apply_credit(GRPO(), rollouts([[2, 3], [1, 1, 4], [2]], [1, 0, 0.2]))
    found = measured(CreditStatistics(), batch)
    assert found["credit/sign_agreement"] == 1.0
    assert found["credit/turn_evenness"] == pytest.approx(1.0)
    assert found["credit/nonzero_turn_share"] == 1.0


def test_without_a_better_or_worse_there_is_no_agreement():
    assert "credit/sign_agreement" not in measured(CreditStatistics(), given([[1.0], [1.0]], [[1], [1]], [1, 1]))


def test_credit_of_long_turns_shows_in_the_correlation():
    rising = given([[1.0, 2.0, 3.0]], [[1, 2, 3]], [1])
    falling = given([[1.0, 2.0, 3.0]], [[3, 2, 1]], [1])
    assert measured(CreditStatistics(), rising)["credit/turn_length_correlation"] == pytest.approx(1)
    assert measured(CreditStatistics(), falling)["credit/turn_length_correlation"] == pytest.approx(-1)
    bent = given([[0.0, 1.0, 0.0]], [[1, 2, 4]], [1])
    credits, lengths = [0.0, 1.0, 0.0], [1.0, 2.0, 4.0]
    expected = torch.corrcoef(torch.tensor([credits, lengths]))[0, 1]
    assert measured(CreditStatistics(), bent)["credit/turn_length_correlation"] == pytest.approx(float(expected))


@pytest.mark.parametrize("credit", [0.1, 0.3, 0.7])
def test_credit_that_does_not_vary_has_no_correlation(credit):
    same = given([[credit, credit, credit]], [[1, 2, 4]], [1])
    assert "credit/turn_length_correlation" not in measured(CreditStatistics(), same)


def test_turns_of_one_length_have_no_correlation():
    same = given([[1.0, 2.0]], [[2, 2]], [1])
    assert "credit/turn_length_correlation" not in measured(CreditStatistics(), same)


def test_only_trained_turns_count():
    batch = given([[1.0, 0.0], [0.0, 0.0]], [[1, 3], [2, 1]], [1, 0])
    mask = batch.action_mask & (batch.turn_ids == 0)
    assert measured(CreditStatistics(), replace(batch, loss_mask=mask))["credit/nonzero_turn_share"] == 0.5


def test_without_credit_there_is_an_error():
    with pytest.raises(ValueError, match="assign credit first"):
        CreditStatistics().update(rollouts([[1]], [1]))


def test_no_number_has_the_name_of_an_assigners():
    batch = replace(rollouts([[2, 1], [1, 2]], [1, 0]), entropies=torch.ones(2, 7))
    credited, numbers = apply_credit(AEM(), batch)
    assert not numbers.keys() & measured(CreditStatistics(), credited).keys()
