"""What assigners say of saved rollouts, and how far they agree."""

import math

import pytest
import torch

from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.inspector.opinions import (
    Opinion,
    agreement,
    agreements,
    ask,
    labels,
    missing,
    ranks,
    saved_opinion,
)
from lightning_agentrl.rollout.bundle import Bundle
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import Signal


def opinion(label: str, *rows: list[float]) -> Opinion:
    """Credit per turn of one token each, on rollouts with as many turns as numbers; NaN trains nothing."""
    batch = rollouts([[1] * len(row) for row in rows], rewards=[0.0] * len(rows))
    advantages = torch.zeros(batch.input_ids.shape)
    mask = batch.action_mask.clone()
    for row, credits in enumerate(rows):
        for turn, credit in enumerate(credits):
            place = batch.turn_ids[row] == turn
            advantages[row, place] = 0.0 if math.isnan(credit) else credit
            mask[row, place] = not math.isnan(credit)
    from dataclasses import replace

    return Opinion(label, replace(batch, advantages=advantages, loss_mask=mask), {})


NAN = float("nan")


def test_the_saved_credit_is_what_its_assigner_says_again(saved: Bundle) -> None:
    (again,) = ask(saved.batch, [GRPO()])
    assert torch.equal(again.turns, saved_opinion(saved.batch, "GRPO").turns)


def test_every_assigner_starts_from_the_same_batch(saved: Bundle) -> None:
    alone = ask(saved.batch, [IGPO()])[0]
    after = ask(saved.batch, [GRPO(), IGPO()])[1]
    assert torch.equal(alone.turns, after.turns)


def test_a_turn_without_trained_tokens_has_no_say() -> None:
    first = opinion("a", [1.0, NAN])
    assert first.trained.tolist() == [[True, False]]
    assert agreement(first, opinion("b", [1.0, 2.0])).turns == 1


def test_sign_flips_and_one_sided_turns_are_shares_of_common_turns() -> None:
    # Turns: + against −, + against 0, 0 against 0, − against −.
    pair = agreement(opinion("a", [1.0, 1.0, 0.0, -1.0]), opinion("b", [-1.0, 0.0, 0.0, -2.0]))
    assert (pair.turns, pair.sign_flips, pair.one_sided) == (4, 0.25, 0.25)


def test_rank_correlation_only_looks_at_the_order() -> None:
    pair = agreement(opinion("a", [1.0, 2.0, 3.0]), opinion("b", [10.0, 100.0, 1000.0]))
    assert pair.rank_correlation == pytest.approx(1.0)
    pair = agreement(opinion("a", [1.0, 2.0, 3.0]), opinion("b", [3.0, 2.0, -1.0]))
    assert pair.rank_correlation == pytest.approx(-1.0)


def test_equal_values_share_their_mean_rank() -> None:
    # 5 takes rank 0, the two 7s share ranks 1 and 2, and 9 takes 3.
    assert ranks(torch.tensor([7.0, 9.0, 5.0, 7.0])).tolist() == [1.5, 3.0, 0.0, 1.5]


def test_drift_is_the_slope_of_credit_over_turns() -> None:
    # Means 0, 1, 2 at turns 0, 1, 2.
    assert opinion("a", [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]).drift == pytest.approx(1.0)
    assert opinion("a", [1.0, -1.0, 1.0]).drift == pytest.approx(0.0)
    assert opinion("a", [5.0], [3.0]).drift == 0.0


def test_each_pair_is_compared_once(saved: Bundle) -> None:
    pairs = agreements(ask(saved.batch, [GRPO(), IGPO(), GiGPO()]))
    assert [(pair.first, pair.second) for pair in pairs] == [("GRPO", "IGPO"), ("GRPO", "GiGPO"), ("IGPO", "GiGPO")]


def test_labels_spell_out_settings_only_where_they_must() -> None:
    assert labels([GRPO(), AEM(base=GiGPO())]) == ["GRPO", "AEM(GiGPO)"]
    first, second = labels([IGPO(gamma=1.0), IGPO(gamma=0.9)])
    assert "gamma=0.9" in second
    assert first != second
    assert labels([GRPO(), GRPO()])[0] != labels([GRPO(), GRPO()])[1]


def test_missing_signals_are_those_that_are_not_there(saved: Bundle) -> None:
    assert missing(IGPO(), saved.batch) == Signal.NONE
    assert missing(AEM(base=IGPO()), saved.batch) == Signal.ENTROPIES
