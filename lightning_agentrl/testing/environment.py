"""An environment that a random tiny policy can learn in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightning_agentrl.environments.base import Environment, Episode, Observation, Split
from lightning_agentrl.tools.base import Tool
from lightning_agentrl.types import Action, Reward, Task, Trajectory


class ToyEnvironment(Environment):
    """Say a letter: the outcome is the share of characters that are the letter asked for.

    Every turn but the last is answered by ``observation`` after ``latency`` seconds, so that multi-turn rollouts,
    slow tools and masks are exercised too.
    """

    def __init__(
        self, tasks: int = 16, turns: int = 2, letters: str = "ab", observation: str = "go on", latency: float = 0.0
    ) -> None:
        """Make ``tasks`` tasks that ask for each of ``letters`` in rotation."""
        self.turns = turns
        self.observation = observation
        self.latency = latency
        self._tasks = [
            Task(
                id=str(number),
                messages=({"role": "user", "content": f"say {letters[number % len(letters)]}"},),
                answers=(letters[number % len(letters)],),
                meta={"hops": turns},
            )
            for number in range(tasks)
        ]

    @property
    def tools(self) -> Sequence[Tool]:
        """None."""
        return ()

    def tasks(self, split: Split) -> Sequence[Task]:
        """The same tasks for training and validation."""
        return self._tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """A fresh episode."""
        return _Episode(self, task)


class _Episode(Episode):
    def __init__(self, environment: ToyEnvironment, task: Task) -> None:
        self.environment = environment
        self.task = task
        self.said: list[str] = []

    async def step(self, action: Action) -> Observation:
        self.said.append(action.text)
        if len(self.said) >= self.environment.turns:
            return Observation(done=True)
        await asyncio.sleep(self.environment.latency)
        return Observation(results=(self.environment.observation,))

    async def reward(self, trajectory: Trajectory) -> Reward:
        text = "".join(self.said)
        share = text.count(self.task.answers[0]) / max(len(text), 1)
        return Reward(outcome=share, shaped=share)
