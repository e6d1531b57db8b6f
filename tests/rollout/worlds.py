"""Small environments for trees to grow in: episodes that count, tools that fail, a ledger of who closed them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_agentrl.environments.base import Environment, Episode, Observation, Split
from lightning_agentrl.environments.tools import ToolEpisode
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Action, Reward, Task, Trajectory, Turn

# Tags in the prompt: whoever counts calls by counting tags would count these.
TASKS = [Task(str(n), ({"role": "user", "content": "Count. <tool_call></tool_call></tool_call>"},)) for n in range(4)]


class Counting(Environment):
    """Answers the n-th turn with "heard n" and ends the episode at the last of ``turns``; episodes fork."""

    def __init__(self, turns: int = 3) -> None:
        self.turns = turns

    @property
    def tools(self) -> Sequence[Tool]:
        return ()

    def tasks(self, split: Split) -> Sequence[Task]:
        return TASKS

    async def open(self, task: Task, seed: int) -> Episode:
        return Count(self)

    def answer(self, heard: int) -> str:
        return f"heard {heard}"


class Count(Episode):
    """What it has heard is its state, and the outcome."""

    def __init__(self, environment: Counting, heard: int = 0) -> None:
        self.environment = environment
        self.heard = heard

    async def step(self, action: Action) -> Observation:
        await asyncio.sleep(0)
        self.heard += 1
        if self.heard == self.environment.turns:
            return Observation(done=True)
        n = self.heard
        return Observation((self.environment.answer(n),), reward=float(n), penalty=n / 8, state_key=n)

    async def fork(self) -> Episode:
        return Count(self.environment, self.heard)

    async def reward(self, trajectory: Trajectory) -> Reward:
        return Reward(self.heard, self.heard)


class Unforking(Counting):
    """Deterministic, but its episodes cannot be copied."""

    async def open(self, task: Task, seed: int) -> Episode:
        return Closed(self)


class Closed(Count):
    """Cannot be copied."""

    async def fork(self) -> Episode:
        return await Episode.fork(self)


class Moody(Unforking):
    """Never answers the same twice."""

    def __init__(self, turns: int = 3) -> None:
        super().__init__(turns)
        self.moods = itertools.count()

    def answer(self, heard: int) -> str:
        return f"mood {next(self.moods)}"


class Resuming(Unforking):
    """Can start in the middle."""

    def __init__(self, turns: int = 3) -> None:
        super().__init__(turns)
        self.opened: list[tuple[str, int]] = []
        self.resumed: list[tuple[str, int, int]] = []

    async def open(self, task: Task, seed: int) -> Episode:
        self.opened.append((task.id, seed))
        return await super().open(task, seed)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        self.resumed.append((task.id, seed, len(turns)))
        return Count(self, len(turns))


class Behaviour(Tool):
    """A tool that echoes, breaks or hangs."""

    name = ""
    limits = ToolLimits(0.01)
    description = "Does something."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}}

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, **arguments: Any) -> str:
        if self.name == "break":
            raise ZeroDivisionError("no way")
        if self.name == "hang":
            await asyncio.sleep(60)
        return "fine"


class Tools(Counting):
    """Calls until an answer."""

    @property
    def tools(self) -> Sequence[Tool]:
        return [Behaviour(name) for name in ("echo", "break", "hang")]

    async def open(self, task: Task, seed: int) -> Episode:
        async def judge(trajectory: Trajectory) -> Reward:
            return Reward(float(trajectory.answer is not None), 0)

        return ToolEpisode(Toolbox(self.tools), judge)


class Ledger(Environment):
    """Another environment, with a record of every episode that was opened, resumed or forked, and of its steps."""

    def __init__(self, world: Environment) -> None:
        self.world = world
        self.episodes: list[Entry] = []

    @property
    def tools(self) -> Sequence[Tool]:
        return self.world.tools

    def tasks(self, split: Split) -> Sequence[Task]:
        return self.world.tasks(split)

    async def open(self, task: Task, seed: int) -> Episode:
        return self.enter(await self.world.open(task, seed))

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode | None:
        resumed = await self.world.resume(task, seed, turns)
        return None if resumed is None else self.enter(resumed)

    def enter(self, episode: Episode) -> Episode:
        self.episodes.append(Entry(self, episode))
        return self.episodes[-1]

    @property
    def steps(self) -> int:
        """Turns that were really played."""
        return sum(entry.steps for entry in self.episodes)

    @property
    def closings(self) -> set[int]:
        """How often episodes were closed."""
        return {entry.closings for entry in self.episodes}


class Entry(Episode):
    """An episode's line in the ledger."""

    def __init__(self, ledger: Ledger, episode: Episode) -> None:
        self.ledger = ledger
        self.episode = episode
        self.steps = self.closings = 0

    async def step(self, action: Action) -> Observation:
        self.steps += 1
        return await self.episode.step(action)

    async def fork(self) -> Episode:
        return self.ledger.enter(await self.episode.fork())

    async def reward(self, trajectory: Trajectory) -> Reward:
        return await self.episode.reward(trajectory)

    async def close(self) -> None:
        self.closings += 1
        await self.episode.close()
