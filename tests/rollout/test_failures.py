"""When the machinery behind an environment fails: fresh episodes take over, or the whole group goes, counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from growing import CERTAIN, check_tree, grow, sampler, shape
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Counting, Ledger

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.environments.base import Environment, Episode, Observation
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import Action, Reward, Task, Trajectory

Fails = Callable[[str, str], bool]
"""Whether an operation on a task's episode fails."""


class Shaky(Environment):
    """Another environment whose machinery fails when it is told to."""

    def __init__(self, fails: Fails, world: Environment | None = None) -> None:
        self.fails = fails
        self.world = world or Counting()

    def tasks(self, split: Any) -> Sequence[Task]:
        return self.world.tasks(split)

    def trip(self, what: str, task: Task) -> None:
        if self.fails(what, task.id):
            raise InfrastructureError(f"{what} failed")

    async def open(self, task: Task, seed: int) -> Episode:
        self.trip("open", task)
        return Shaken(self, task, await self.world.open(task, seed))


class Shaken(Episode):
    """Its episodes."""

    def __init__(self, environment: Shaky, task: Task, episode: Episode) -> None:
        self.environment, self.task, self.episode = environment, task, episode

    async def step(self, action: Action) -> Observation:
        self.environment.trip("step", self.task)
        seen = await self.episode.step(action)
        self.environment.trip("step after it was done", self.task)
        return seen

    async def fork(self) -> Episode:
        self.environment.trip("fork", self.task)
        return Shaken(self.environment, self.task, await self.episode.fork())

    async def reward(self, trajectory: Trajectory) -> Reward:
        self.environment.trip("reward", self.task)
        return await self.episode.reward(trajectory)

    async def close(self) -> None:
        self.environment.trip("close", self.task)


class Times:
    """Fails one operation a number of times."""

    def __init__(self, what: str, times: int, task: str = "0") -> None:
        self.what, self.left, self.task = what, times, task

    def __call__(self, what: str, task: str) -> bool:
        due = self.left > 0 and (what, task) == (self.what, self.task)
        self.left -= due
        return due


JOBS = [Job(task, group, 4) for group, task in enumerate(TASKS)]
OPERATIONS = ["open", "step", "step after it was done", "reward"]


def play(
    tokenizer: PreTrainedTokenizerBase,
    fails: Fails,
    branching: Branching = Independent(),  # noqa: B008 - frozen
) -> tuple[list[Trajectory], Failures, Ledger]:
    world, failures = Ledger(Shaky(fails)), Failures()
    return grow(sampler(tokenizer, world, branching), JOBS, failures=failures), failures, world


@pytest.mark.parametrize("branching", [Independent(), CERTAIN], ids=["independent", "branching"])
@pytest.mark.parametrize("what", OPERATIONS)
def test_a_failure_that_does_not_come_again_leaves_no_trace_in_the_rollouts(
    tokenizer: PreTrainedTokenizerBase, what: str, branching: Branching
) -> None:
    calm, _, _ = play(tokenizer, lambda *_: False, branching)
    found, failures, world = play(tokenizer, Times(what, 1), branching)
    assert shape(found[:4]) == shape(calm[:4])
    assert [t.reward for t in found] == [t.reward for t in calm]
    assert not failures.dropped
    assert world.closings == {1}


def test_only_a_rebuilt_episode_is_counted_as_rebuilt(tokenizer: PreTrainedTokenizerBase) -> None:
    _, failures, world = play(tokenizer, Times("step", 1))
    assert (failures.take(), len(world.episodes)) == (
        {"dropped_groups": 0.0, "rebuilt_episodes": 1.0},
        4 * 4 + 1,
    )


@pytest.mark.parametrize("branching", [Independent(), CERTAIN], ids=["independent", "branching"])
@pytest.mark.parametrize("what", OPERATIONS)
def test_a_group_whose_environment_goes_on_failing_is_dropped_whole(
    tokenizer: PreTrainedTokenizerBase, what: str, branching: Branching
) -> None:
    calm, _, _ = play(tokenizer, lambda *_: False, branching)
    found, failures, world = play(tokenizer, Times(what, 99, task="2"), branching)
    assert {trajectory.group for trajectory in found} == {0, 1, 3}
    assert [t.token_ids for t in found] == [t.token_ids for t in calm if t.group != 2]
    assert failures.dropped == [2]
    assert world.closings <= {1}


def test_an_episode_that_breaks_while_it_is_closed_is_let_go(tokenizer: PreTrainedTokenizerBase) -> None:
    found, failures, _ = play(tokenizer, Times("close", 99))
    assert (len(found), failures.dropped) == (16, [])


@pytest.mark.parametrize("seed", range(8))
def test_with_a_tenth_of_all_operations_failing_a_group_is_whole_or_not_there(
    tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    rng = random.Random(seed)
    for branching in (Independent(), CERTAIN):
        found, failures, world = play(tokenizer, lambda *_: rng.random() < 0.1, branching)
        groups = {trajectory.group for trajectory in found}
        assert groups.isdisjoint(failures.dropped)
        assert groups | set(failures.dropped) == {0, 1, 2, 3}
        for group in groups:
            check_tree([trajectory for trajectory in found if trajectory.group == group], 4)
        assert world.closings <= {1}


class Forgetful(Counting):
    """Answers differently each time, so that nothing can be replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def answer(self, heard: int) -> str:
        self.answers += 1
        return f"answer {self.answers}"


def test_an_episode_that_cannot_be_rebuilt_costs_its_group(tokenizer: PreTrainedTokenizerBase) -> None:
    steps = 0

    def second_step(what: str, task: str) -> bool:
        nonlocal steps
        steps += (what, task) == ("step", "1")
        return (what, task, steps) == ("step", "1", 5)

    failures = Failures()
    world = Shaky(second_step, Forgetful())
    grow(sampler(tokenizer, world, Independent()), JOBS, failures=failures)
    assert failures.dropped == [1]
    assert "could not be rebuilt" in str(failures.last)


def test_any_other_failure_still_ends_the_collection(tokenizer: PreTrainedTokenizerBase) -> None:
    class Broken(Shaky):
        async def open(self, task: Task, seed: int) -> Episode:
            raise LookupError("a mistake in the code")

    with pytest.raises(LookupError, match="a mistake in the code"):
        grow(sampler(tokenizer, Broken(lambda *_: False), Independent()), JOBS)


def test_when_nothing_is_left_the_run_stops_with_the_last_error() -> None:
    failures = Failures()
    failures.check([1])
    failures.drop(JOBS[0], InfrastructureError("no connection"))
    with pytest.raises(RuntimeError, match=r"every group \(1 in all\).*no connection"):
        failures.check([])


def test_counts_are_taken_once() -> None:
    failures = Failures()
    failures.drop(JOBS[0], InfrastructureError("no connection"))
    assert [failures.take()["dropped_groups"] for _ in range(2)] == [1.0, 0.0]


def test_cancelling_a_rollout_is_not_taken_for_a_failure(tokenizer: PreTrainedTokenizerBase) -> None:
    class Waits(Counting):
        async def open(self, task: Task, seed: int) -> Episode:
            await asyncio.sleep(60)
            raise AssertionError

    async def run() -> None:
        failures = Failures()
        rollouts = sampler(tokenizer, Waits(), Independent())
        running = asyncio.ensure_future(rollouts.collect(JOBS, temperature=1.0, seed=0, epoch=0, failures=failures))
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()
        assert not failures.dropped

    asyncio.run(run())
