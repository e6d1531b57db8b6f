"""Whatever fails in a tree, it has exactly its leaves or raises its first failure, and every episode is closed once."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import replace

import pytest
from growing import CERTAIN, Shuffled, call, chatter, check_tree, grow, sampler, says
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Count, Counting, Ledger, Tools

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.base import Episode
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.testing import Reply, ScriptedEngine
from lightning_agentrl.types import Reward, StopReason, Task, Trajectory

ANSWER = "<answer>x</answer>"
LONG = "a" * 80
WIDE = Limits(max_turns=9, max_turn_tokens=60, max_model_len=600)


@pytest.mark.parametrize(
    ("turns", "limits", "stops"),
    [
        ([call("echo"), '<tool_call>{"name": </tool_call>', ANSWER], {}, {StopReason.FINISHED}),
        ([call("echo"), call("unheard_of"), ANSWER], {}, {StopReason.FINISHED}),
        ([call("echo"), call("break"), ANSWER], {}, {StopReason.FINISHED}),
        ([call("echo"), call("hang"), ANSWER], {}, {StopReason.FINISHED}),
        ([call("echo")], {"max_turns": 2}, {StopReason.MAX_TURNS}),
        ([call("echo")], {"max_turns": 3}, {StopReason.MAX_TURNS}),
        ([call("echo"), LONG], {}, {StopReason.TURN_LENGTH}),
        ([call("echo"), call("echo"), LONG], {}, {StopReason.TURN_LENGTH}),
        ([call("echo")], {"max_model_len": 150}, {StopReason.CONTEXT}),
        ([call("echo")], {"max_model_len": 200}, {StopReason.CONTEXT}),
    ],
)
def test_a_failure_in_a_branch_costs_no_leaf(
    tokenizer: PreTrainedTokenizerBase, turns: list[str], limits: dict[str, int], stops: set[StopReason]
) -> None:
    world = Ledger(Tools())
    settings = replace(WIDE, **limits)
    engine = ScriptedEngine(says(tokenizer, *turns))
    found = grow(sampler(tokenizer, world, CERTAIN, engine, settings), 7)
    check_tree(found, 7)
    assert {trajectory.stop for trajectory in found} == stops
    assert any(branch.origin for branch in found)
    assert len(world.episodes) == 7
    assert world.closings == {1}
    assert max(len(trajectory.token_ids) for trajectory in found) <= settings.max_model_len
    assert max(len(trajectory.turns) for trajectory in found) <= settings.max_turns


def test_tool_calls_of_the_prefix_are_a_branchs_too_and_are_not_run_again(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Ledger(Tools())
    engine = ScriptedEngine(says(tokenizer, call("echo"), call("break"), ANSWER))
    found = grow(sampler(tokenizer, world, CERTAIN, engine, WIDE), 4)
    assert [[c.name for turn in t.turns for c in turn.tool_calls] for t in found] == [["echo", "break"]] * 4
    # Roots play three turns each and their branches two: ten of twelve.
    assert world.steps == 10


REQUESTS = 10
"""Of two roots with three turns and two branches with two."""


@pytest.mark.parametrize("failing", range(REQUESTS))
def test_when_the_engine_fails_its_first_failure_is_raised_and_everything_is_closed(
    tokenizer: PreTrainedTokenizerBase, failing: int
) -> None:
    count = itertools.count()
    say = chatter(tokenizer)

    def script(ids: list[int], params: SamplingParams) -> Reply:
        if (number := next(count)) >= failing:
            raise RuntimeError(f"request {number} failed")
        return say(ids, params)

    world = Ledger(Counting(turns=3))
    with pytest.raises(RuntimeError, match=f"request {failing} failed"):
        grow(sampler(tokenizer, world, CERTAIN, ScriptedEngine(script)), 4)
    assert world.closings == {1}
    assert next(count) <= REQUESTS


def test_a_failure_of_one_prompt_closes_the_others(tokenizer: PreTrainedTokenizerBase) -> None:
    class Broken(Count):
        async def fork(self) -> Episode:
            raise OSError("no copy")

    class World(Counting):
        async def open(self, task: Task, seed: int) -> Episode:
            return Broken(self) if task.id == "1" else Count(self)

    world = Ledger(World(turns=4))
    with pytest.raises(OSError, match="no copy"):
        grow(
            sampler(tokenizer, world, CERTAIN),
            [Job(task, group, 6) for group, task in enumerate(TASKS)],
        )
    assert world.closings == {1}


def test_a_verdict_that_fails_is_raised_and_its_episode_closed(tokenizer: PreTrainedTokenizerBase) -> None:
    class Unjust(Count):
        async def reward(self, trajectory: Trajectory) -> Reward:
            raise LookupError("no verdict")

    class World(Counting):
        async def open(self, task: Task, seed: int) -> Episode:
            return Unjust(self)

    world = Ledger(World())
    with pytest.raises(LookupError, match="no verdict"):
        grow(sampler(tokenizer, world, CERTAIN), 4)
    assert world.closings == {1}


class Equal(Count):
    """Equal to all of its kind, as a dataclass without fields is."""

    closings = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    __hash__ = None  # type: ignore[assignment]

    async def close(self) -> None:
        self.closings += 1


class Lost(Equal):
    """Finds no verdict, and takes its time over it."""

    async def reward(self, trajectory: Trajectory) -> Reward:
        for _ in range(50):
            await asyncio.sleep(0)
        raise LookupError("no verdict")


class Equals(Counting):
    """Episodes that cannot be told apart by ``==``, the first of them of some kind."""

    def __init__(self, first: type[Equal]) -> None:
        super().__init__(turns=4)
        self.first = first
        self.opened: list[Equal] = []

    async def open(self, task: Task, seed: int) -> Episode:
        self.opened.append(Equal(self) if self.opened else self.first(self))
        return self.opened[-1]


def test_episodes_that_compare_equal_are_still_told_apart(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Equals(Equal)
    found = grow(sampler(tokenizer, world, Independent(), Shuffled(tokenizer, random.Random(0))), 4)
    assert [trajectory.outcome for trajectory in found] == [4] * 4
    assert [episode.closings for episode in world.opened] == [1] * 4


def test_closing_an_episode_is_not_taken_for_closing_its_twin(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Equals(Lost)
    with pytest.raises(LookupError, match="no verdict"):
        grow(sampler(tokenizer, world, Independent()), 4)
    assert [episode.closings for episode in world.opened] == [1] * 4
