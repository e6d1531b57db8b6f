"""Bonuses and penalties for the use of tools and for length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from told import told, turn, value

from lightning_agentrl.rewards.length import Length
from lightning_agentrl.rewards.tool_use import BothTools, ToolErrors
from lightning_agentrl.types import CallError

Made = Sequence[tuple[str, str | CallError | None]]


@pytest.mark.parametrize(
    ("calls", "success", "attempt"),
    [
        ([], 0, 0),
        ([("search", None)], 0, 0),
        ([("search", None), ("search", None)], 0, 0),
        ([("search", None), ("python", None)], 1, 1),
        ([("python", None), ("other", None), ("search", None)], 1, 1),
        ([("search", None), ("python", "exception")], 0, 1),
        ([("search", None), ("python", CallError.WRONG_TYPE), ("python", None)], 1, 1),
    ],
)
def test_both_tools_must_have_come_to_something_or_been_tried(calls: Made, success: int, attempt: int) -> None:
    trajectory = told(*(turn("…", "result", calls=[call]) for call in calls), "<answer> 5 </answer>")
    assert (value(BothTools(), trajectory), value(BothTools(counts="attempt"), trajectory)) == (success, attempt)


def test_an_attempt_may_be_a_closing_tag_alone() -> None:
    trajectory = told("</search>", "</python> <answer> 5 </answer>")
    assert (value(BothTools(), trajectory), value(BothTools(counts="attempt"), trajectory)) == (0, 1)


def test_which_tools_are_wanted_is_a_setting() -> None:
    trajectory = told(turn("…", "5", calls=[("python", None)]), "<answer> 5 </answer>")
    assert value(BothTools(["python"]), trajectory) == 1


def test_no_tool_to_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="one tool at least"):
        BothTools([])


@pytest.mark.parametrize(
    ("calls", "all_kinds", "invalid"),
    [
        ([], 0, 0),
        ([("python", None)], 0, 0),
        ([("python", None), ("python", "exception"), ("python", "timeout"), ("", CallError.BAD_JSON)], 3 / 4, 1 / 4),
        ([("snake", CallError.UNKNOWN_TOOL)], 1, 1),
    ],
)
def test_errors_are_a_share_of_the_calls(calls: Made, all_kinds: float, invalid: float) -> None:
    trajectory = told(*(turn("…", "result", calls=[call]) for call in calls), "<answer> 5 </answer>")
    assert [value(ToolErrors(), trajectory), value(ToolErrors("invalid"), trajectory)] == [all_kinds, invalid]


@pytest.mark.parametrize(
    ("tokens", "penalty"), [(1000, 0.0), (2096, 0.0), (3120, 0.25), (4144, 0.5), (6192, 1.0), (9000, 1.0)]
)
def test_the_length_penalty_of_a2tgpo(tokens: int, penalty: float) -> None:
    # (3120 − 2096) / 4096 = 0.25
    trajectory = told(turn("a", "result", tokens=tokens - 10), turn("b", tokens=10))
    assert value(Length(free=2096, per=4096), trajectory) == penalty


@pytest.mark.parametrize(("unit", "excess"), [("tokens", 9.0), ("turns", 2.0), ("calls", 1.0)])
def test_length_counts_tokens_turns_or_calls(unit: Literal["tokens", "turns", "calls"], excess: float) -> None:
    called = turn("…", "5", "5", calls=[("python", None)] * 2, tokens=4)
    trajectory = told(called, turn("…", tokens=3), turn("…", tokens=3))
    assert value(Length(free=1, unit=unit, most=None), trajectory) == excess


@pytest.mark.parametrize("settings", [{"free": -1}, {"free": 0, "per": 0}, {"free": 0, "most": 0.0}])
def test_lengths_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="free ≥ 0"):
        Length(**settings)
