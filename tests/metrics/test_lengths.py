"""How long trajectories are and how they end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from metric_cases import many, measured, trajectory, turn
from plain_loops import lengths

from lightning_agentrl.metrics import StopReasons, Truncation, Turns
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.statistics import validation_means
from lightning_agentrl.types import BranchPoint, StopReason

TWO = [
    trajectory("t", 0.0, turn(tokens=4, heard=2), turn(tokens=2), stop=StopReason.CONTEXT),
    trajectory("t", 0.0, turn(tokens=3, cut=True)),
]


def test_turns_and_tokens_are_counted():
    assert measured(Turns(), TWO) == {
        "rollout/turns": 1.5,
        "rollout/turns_max": 2,
        "rollout/tool_turns": 0.5,
        "rollout/tokens": 4.5,
        "rollout/tokens_per_turn": 3,
        "rollout/length": (11 + 6) / 2,  # with 3 of prompt each, and 2 of observation
        "rollout/length_max": 11,
        "rollout/generated_tokens": 9,
    }


def test_what_a_branch_inherited_was_generated_once():
    # The branch leaves behind one of the four tokens of the first turn: it said three of them anew, and two more.
    branch = replace(TWO[0], id=1, origin=BranchPoint(0, 3 + 1))
    found = measured(Turns(), [TWO[0], branch])
    assert (found["rollout/tokens"], found["rollout/generated_tokens"]) == (6, 6 + 5)


def test_limits_cut_trajectories_and_turns():
    found = measured(Truncation(), TWO)
    assert found == {"rollout/truncated_share": 0.5, "rollout/cut_turn_share": pytest.approx(1 / 3)}


def test_a_reason_that_did_not_occur_has_share_zero():
    assert measured(StopReasons("val"), TWO) == {
        "val/stop_finished": 0.5,
        "val/stop_turn_length": 0,
        "val/stop_context": 0.5,
        "val/stop_max_turns": 0,
    }


def test_a_rollout_without_turns_has_no_turn_to_average_over():
    assert "rollout/tokens_per_turn" not in measured(Turns(), [trajectory()])
    assert "rollout/cut_turn_share" not in measured(Truncation(), [trajectory()])


def test_numbers_are_those_of_a_plain_loop():
    rollouts = many(1, 4)
    found: dict[str, float] = {}
    for metric in (Turns(), Truncation(), StopReasons()):
        found |= measured(metric, rollouts)
    expected = lengths(rollouts)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_numbers_agree_with_those_of_validation():
    rollouts = many(2, 4)
    expected = validation_means(collate(rollouts))
    found = measured(Turns("val"), rollouts)
    for name in ("turns", "tool_turns", "tokens"):
        assert found[f"val/{name}"] == pytest.approx(float(expected[name].mean()))
    truncated = float(expected["truncated"].mean())
    assert measured(Truncation("val"), rollouts)["val/truncated_share"] == pytest.approx(truncated)
