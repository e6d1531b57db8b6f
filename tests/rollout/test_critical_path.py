"""What a collection waited for, by pencil."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from growing import call, grow, sampler, says
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Behaviour, Tools

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.rollout.critical_path import CriticalPath, critical_path, waited
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.types import Segment, Task, Timing, ToolCall, Trajectory, Turn


def turn(asked: float, said: float, heard: float, **latencies: float) -> Turn:
    calls = tuple(ToolCall(name, {}, latency=latency) for name, latency in latencies.items())
    return Turn(Segment((1,), True), tool_calls=calls, timing=Timing(asked, said, heard))


def rollout(id: int, *turns: Turn, judged: float) -> Trajectory:
    return Trajectory(id, 0, id, Task(str(id), ()), Segment((1,), False), turns, judged=judged)


SLOW = rollout(0, turn(11, 13, 18, search=5.0, python=1.0), turn(18, 19, 19), judged=20)
"""Started at 10: idle 1, decode 2, search 5, decode 1, reward 1."""
OTHER = rollout(1, turn(10, 12, 16, python=4.0), turn(16, 19, 19), judged=19)


def path(*rollouts: Trajectory) -> CriticalPath:
    found = critical_path(rollouts, started=10)
    assert found is not None
    return found


def test_the_path_is_that_of_the_rollout_that_finished_last() -> None:
    assert path(OTHER, SLOW).trajectory is SLOW


def test_its_waits_are_an_unbroken_chain() -> None:
    numbers = path(SLOW, OTHER).numbers
    kinds = ("idle", "decode", "tool", "environment", "reward")
    assert [numbers[f"critical/{kind}"] for kind in kinds] == [1, 3, 5, 0, 1]
    assert sum(numbers[f"critical/{kind}"] for kind in kinds) == 20 - 10


def test_a_faster_tool_saves_until_something_else_is_last() -> None:
    # Search at half its time: 0 ends at 17.5, and 1 at 19, as before.
    assert path(SLOW, OTHER).saved["search"] == 1.0
    assert path(SLOW).saved["search"] == 2.5


def test_a_tool_in_the_shadow_of_a_slower_one_saves_nothing() -> None:
    # Python's second call ran beside the search; making 1 faster does not help 0, which is last.
    assert path(SLOW, OTHER).saved["python"] == 0.0


def test_waves_add_up() -> None:
    assert waited([path(SLOW), path(OTHER)])["critical/decode"] == 3 + 5


def test_the_line_names_turn_tool_and_gain() -> None:
    assert str(path(SLOW)) == (
        "waited longest for tool search in turn 1 of task '0' (5.00 s); search twice as fast would save 2.50 s"
    )


def test_without_clocks_there_is_no_path() -> None:
    assert critical_path([Trajectory(0, 0, 0, Task("0", ()), Segment((1,), False))], 0.0) is None


class Waiting(Behaviour):
    """A tool that takes its time."""

    limits = ToolLimits()

    async def __call__(self, **arguments: Any) -> str:
        await asyncio.sleep(0.05)
        return "fine"


class Slow(Tools):
    """Nothing but that tool."""

    @property
    def tools(self) -> Sequence[Tool]:
        return [Waiting("echo")]


@pytest.mark.parametrize("samples", [1, 4])
def test_a_real_rollout_is_timed(tokenizer: PreTrainedTokenizerBase, samples: int) -> None:
    engine = ScriptedEngine(says(tokenizer, call("echo"), "done"))
    found = grow(sampler(tokenizer, Slow(), Independent(), engine), [Job(TASKS[0], 0, samples)])
    for trajectory in found:
        first, last = (turn.timing for turn in trajectory.turns)
        assert first is not None
        assert last is not None
        assert first.asked <= first.said <= first.heard <= last.asked <= last.said <= last.heard
        assert trajectory.judged is not None
        assert last.heard <= trajectory.judged
        assert first.heard - first.said >= 0.05
