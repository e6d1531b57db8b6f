"""Attempts at repositories, for the tests of `Repair`."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator

import pytest

from lightning_agentrl.data.repair_tasks import Repository
from lightning_agentrl.environments.base import Observation
from lightning_agentrl.environments.repair import Repair
from lightning_agentrl.tools.sandbox import SandboxUnavailable
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Task, Trajectory, Turn

END = Action("It is repaired.")


def started(**options: object) -> Repair:
    """The environment; its test is skipped where programs cannot be contained."""
    environment = Repair(tasks_per_project=2, **options)  # type: ignore[arg-type]
    try:
        environment.prepare()
    except SandboxUnavailable as lacking:
        pytest.skip(str(lacking))
    return environment


def roman(environment: Repair) -> Task:
    """A task with a bug in the project of Roman numerals."""
    every = (task for split in ("train", "validation") for task in environment.tasks(split))  # type: ignore[arg-type]
    return next(task for task in every if task.meta["project"] == "roman")


def file_of(environment: Repair, task: Task) -> str:
    """The file with the bug."""
    return environment._repositories[task.id].path


def call(name: str, **arguments: object) -> Action:
    return Action("", (ParsedCall(name, arguments),))


def play(environment: Repair, task: Task, *actions: Action) -> tuple[list[Observation], Reward]:
    async def run() -> tuple[list[Observation], Reward]:
        episode = await environment.open(task, seed=0)
        heard = [await episode.step(action) for action in actions]
        return heard, await episode.reward(trajectory(task, heard))

    return asyncio.run(run())


def trajectory(task: Task, heard: list[Observation]) -> Trajectory:
    turns = tuple(
        Turn(Segment((1,), True, (-1.0,)), Segment((2,), False), one.tool_calls, results=one.results) for one in heard
    )
    return Trajectory(1, 0, 0, task, Segment((1,), False), turns)


def mending(repository: Repository) -> Action:
    """One edit that makes the broken file right again, as small as a text that occurs once allows."""
    broken, right = (text.split("\n") for text in (repository.files[repository.path], repository.right))
    changes = [one for one in difflib.SequenceMatcher(None, broken, right).get_opcodes() if one[0] != "equal"]
    start, end = changes[0][1], changes[-1][2]
    new_start, new_end = changes[0][3], changes[-1][4]
    for old, new in _wider(broken, right, (start, end), (new_start, new_end)):
        if old.strip() and repository.files[repository.path].count(old) == 1:
            return call("edit", path=repository.path, old=old, new=new)
    raise AssertionError("A whole file occurs once.")


def _wider(
    broken: list[str], right: list[str], old: tuple[int, int], new: tuple[int, int]
) -> Iterator[tuple[str, str]]:
    """The lines that differ, then with more and more lines around them."""
    for more in range(len(broken) + 1):
        before, after = min(more, old[0]), min(more, len(broken) - old[1])
        yield (
            "\n".join(broken[old[0] - before : old[1] + after]),
            "\n".join(right[new[0] - before : new[1] + after]),
        )
