"""What became of tool calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from metric_cases import failed, many, measured, trajectory, turn, worked
from plain_loops import tools

from lightning_agentrl.metrics import ToolSuccess
from lightning_agentrl.types import BranchPoint, CallError


def test_successes_and_errors_are_shares_of_a_tools_calls():
    calls = [worked("search"), worked("search"), failed("search", "timeout"), failed("python", "timeout")]
    found = measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls)), trajectory()])
    assert found["tool/calls"] == 2.0  # 4 of 2 trajectories
    assert (found["tool/calls_search"], found["tool/calls_python"]) == (1.5, 0.5)
    assert found["tool/success_search"] == pytest.approx(2 / 3)
    assert found["tool/success_python"] == 0.0
    assert found["tool/error_timeout"] == 0.5
    assert found["tool/error_search_timeout"] == pytest.approx(1 / 3)
    assert found["tool/error_python_timeout"] == 1.0


def test_latencies_have_quantiles_by_tool():
    calls = [worked(latency=latency) for latency in (1.0, 3.0, 2.0)]
    found = measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls))])
    assert found["tool/latency_ms"] == 2000
    assert found["tool/latency_p50_ms_search"] == 2000
    assert found["tool/latency_p95_ms_search"] == pytest.approx(2900)  # 0.95 · 2 = 1.9 steps from 1 s


def test_a_call_that_was_never_run_has_no_quantile():
    calls = [worked(latency=2.0), failed("search", CallError.MISSING_ARGUMENT)]
    found = measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls))])
    assert found["tool/latency_p50_ms_search"] == 2000


def test_made_up_names_get_no_number_of_their_own():
    calls = [worked(), failed("seerch", CallError.UNKNOWN_TOOL), failed("{", CallError.BAD_JSON)]
    found = measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls))])
    assert found["tool/unknown_share"] == pytest.approx(2 / 3)
    assert found["tool/error_unknown_tool"] == pytest.approx(1 / 3)
    assert not [name for name in found if "seerch" in name or "{" in name]


def test_a_bad_call_of_a_real_tool_is_one_of_its_calls():
    calls = [worked(), failed("search", CallError.IN_THOUGHT), failed("search", CallError.WRONG_TYPE)]
    found = measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls))])
    assert found["tool/success_search"] == pytest.approx(1 / 3)
    assert found["tool/unknown_share"] == 0.0


def test_results_that_were_cut_off_are_counted():
    calls = [worked(cut=True), worked(), worked(), failed("search", "timeout")]
    assert measured(ToolSuccess(), [trajectory("t", 0.0, turn(*calls))])["tool/truncated_share"] == 0.25


def test_a_failure_without_a_kind_is_an_unknown_one():
    assert measured(ToolSuccess(), [trajectory("t", 0.0, turn(failed("a", None)))])["tool/error_unknown"] == 1.0


def test_calls_that_a_branch_inherited_are_saved_and_give_no_latency():
    first = trajectory("t", 0.0, turn(worked(latency=1.0), heard=2), turn(worked(latency=3.0)))
    column = 3 + 2 + 2  # prompt, first turn, what it heard
    second = turn(worked(latency=5.0))
    branch = replace(first, id=1, turns=(first.turns[0], second), origin=BranchPoint(0, column))
    found = measured(ToolSuccess(quantiles=[0.5]), [first, branch])
    assert (found["tool/executed"], found["tool/saved"], found["tool/calls"]) == (3, 1, 2)
    assert found["tool/latency_p50_ms_search"] == 3000  # of 1, 3 and 5


def test_without_calls_only_their_number_is_known():
    assert measured(ToolSuccess(), [trajectory()]) == {"tool/calls": 0, "tool/executed": 0, "tool/saved": 0}


def test_numbers_are_those_of_a_plain_loop():
    rollouts = many(0, 5, ["search", "python"])
    found, expected = measured(ToolSuccess(), rollouts), tools(rollouts)
    assert "tool/error_unknown_tool" in expected
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_quantile_lies_between_0_and_1():
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        ToolSuccess(quantiles=[95])
