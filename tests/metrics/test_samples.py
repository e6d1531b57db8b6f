"""pass@k, pass^k and maj@k of rollouts."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import measured, trajectory, turn

from lightning_agentrl.metrics import Bootstrap, MajorityAtK, PassAtK, PassHatK

OUTCOMES = {"hard": [1.0, 0.0, 0.0, 0.0], "easy": [1.0, 1.0, 1.0, 0.0]}


def test_numbers_are_means_over_prompts():
    found = measured(PassAtK(ks=[1, 2]), OUTCOMES)
    assert found["val/pass@1"] == 0.5  # (1/4 + 3/4) / 2
    assert found["val/pass@2"] == 0.75  # (1/2 + 1) / 2
    assert measured(PassHatK(ks=[2]), OUTCOMES)["val/pass^2"] == 0.25  # (0 + 1/2) / 2


def test_an_interval_comes_with_each_number():
    found = measured(PassAtK(ks=[2]), OUTCOMES)
    assert list(found) == ["val/pass@2", "val/pass@2_low", "val/pass@2_high"]
    assert (found["val/pass@2_low"], found["val/pass@2_high"]) == (
        0.5,
        1.0,
    )  # a quarter of the draws is one prompt twice


def test_rollouts_are_the_outcomes_of_their_tasks():
    samples = [trajectory(task, outcome) for task, outcomes in OUTCOMES.items() for outcome in outcomes]
    assert measured(PassAtK(), samples) == measured(PassAtK(), OUTCOMES)


def test_samples_of_one_task_are_pooled_over_updates_and_groups():
    halves = ([trajectory("t", 1.0, group=0)] * 2, [trajectory("t", 0.0, group=1)] * 2)
    assert measured(PassAtK(ks=[2]), *halves) == {"val/pass@2": pytest.approx(5 / 6)}  # 1 − C(2, 2) / C(4, 2)


def test_by_default_powers_of_two_up_to_the_most_samples():
    found = measured(PassAtK(bootstrap=Bootstrap(resamples=0)), {"a": [1.0] * 5, "b": [0.0] * 2})
    assert found == {
        "val/pass@1": 0.5,
        "val/pass@2": 0.5,
        "val/pass@4": 1.0,  # of a alone
        "val/pass@4_skipped": 1.0,
    }


@pytest.mark.parametrize("metric", [PassAtK, PassHatK])
def test_a_k_that_no_prompt_has_has_no_number(metric):
    found = measured(metric(ks=[4]), {"a": [1.0], "b": [1.0]})
    assert found == {f"val/{metric.symbol}4_skipped": 2.0}


def test_success_is_an_outcome_that_reaches_its_least():
    graded = {"a": [0.5, 1.0], "b": [float("nan"), float("inf")]}
    assert measured(PassAtK(ks=[1]), graded)["val/pass@1"] == 0.5
    assert measured(PassAtK(ks=[1], success=0.5), graded)["val/pass@1"] == 0.75


def test_metrics_may_have_a_section_of_their_own():
    assert "train/pass@1" in measured(PassAtK(section="train"), OUTCOMES)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from([None, "x", "y"])), min_size=1), st.data()
)
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_updates_nor_ranks_change_a_bit(rows, data):
    samples = [trajectory(task, float(right), turn(answer=answer)) for task, right, answer in rows]
    shuffled = data.draw(st.permutations(samples))
    cut = data.draw(st.integers(0, len(samples)))
    for metric in (PassAtK, PassHatK, MajorityAtK):
        settings = {"bootstrap": Bootstrap(resamples=20)}
        assert measured(metric(**settings), samples) == measured(metric(**settings), shuffled[:cut], shuffled[cut:])


def test_prompts_that_are_repeated_as_others_narrow_the_interval_but_keep_the_mean():
    rng = random.Random(0)
    outcomes = {str(prompt): [float(rng.random() < 0.5) for _ in range(4)] for prompt in range(20)}
    copies = {f"{prompt} again": values for prompt, values in outcomes.items()}
    once, twice = measured(PassAtK(ks=[2]), outcomes), measured(PassAtK(ks=[2]), outcomes | copies)
    assert twice["val/pass@2"] == pytest.approx(once["val/pass@2"])
    assert twice["val/pass@2_high"] - twice["val/pass@2_low"] < once["val/pass@2_high"] - once["val/pass@2_low"]


@pytest.mark.parametrize("ks", [[], [0], [1, -1]])
def test_impossible_numbers_of_samples_are_refused(ks):
    with pytest.raises(ValueError, match="at least 1"):
        PassAtK(ks=ks)


# --- maj@k ------------------------------------------------------------------------------------------------------


def test_the_majority_is_right_where_its_answer_is():
    found = measured(MajorityAtK(ks=[1, 3]), {"p": [("Paris", 1.0), ("paris ", 1.0), ("Rome", 0.0)]})
    assert found == {"val/maj@1": pytest.approx(2 / 3), "val/maj@3": 1.0}


def test_answers_are_compared_as_one_says():
    votes = {"p": [("1/2", 1.0), ("0.5", 1.0), ("2", 0.0), ("2", 0.0)]}
    assert measured(MajorityAtK(ks=[4]), votes)["val/maj@4"] == 0.0
    assert measured(
        MajorityAtK(ks=[4], normalize=lambda text: "half" if text in "1/2 0.5" and text != "2" else text), votes
    ) == {"val/maj@4": 0.5}


def test_an_answer_that_was_judged_both_ways_is_half_right():
    assert measured(MajorityAtK(ks=[2]), {"p": [("x", 1.0), ("x", 0.0)]}) == {"val/maj@2": 0.5}


def test_trajectories_vote_with_their_answers():
    said = [("x", 1.0), ("x", 1.0), ("y", 0.0), (None, 0.0)]
    samples = [trajectory("p", outcome, turn(answer=answer)) for answer, outcome in said]
    assert measured(MajorityAtK(), samples) == measured(MajorityAtK(), {"p": said})


def test_without_any_answer_there_is_no_majority():
    assert measured(MajorityAtK(), [trajectory("game", 1.0, turn())]) == {}


def test_the_order_of_samples_does_not_show_in_the_last_bit():
    ballot = [("a", 0.0)] * 3 + [("b", 0.0)] * 6 + [("c", 1.0)] * 2 + [("c", 0.0)] * 4
    found = []
    for votes in (ballot, ballot[::-1]):
        metric = MajorityAtK()
        metric.update({"p": votes})
        found.append(metric.estimates(torch.zeros(15, dtype=torch.int64), torch.tensor([15]), 7).item())
    assert found[0] == found[1]  # unsorted, 0.15773115773115773 and 0.1577311577311577
