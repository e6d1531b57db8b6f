"""An environment that a random tiny policy can learn in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightning_agentrl.environments.base import Environment, Episode, Observation, Split
from lightning_agentrl.tools.base import Tool
from lightning_agentrl.types import Action, Reward, Task, Trajectory

PARITY = {"even": 0, "odd": 1}


class ToyEnvironment(Environment):
    """Say even (or odd) tokens: the outcome is the share of sampled token ids with the parity asked for.

    A random policy earns about one half and can only improve. Every turn but the last is answered by ``observation``
    after ``latency`` seconds, so that multi-turn rollouts, slow tools and masks are exercised too.
    """

    def __init__(
        self,
        tasks: int = 16,
        turns: int = 2,
        asks: Sequence[str] = ("even", "odd"),
        observation: str = "go on",
        latency: float = 0.0,
    ) -> None:
        """Make ``tasks`` tasks that ask for each of ``asks`` in rotation."""
        self.turns = turns
        self.observation = observation
        self.latency = latency
        self._tasks = [self._task(number, asks[number % len(asks)], turns) for number in range(tasks)]

    @staticmethod
    def _task(number: int, parity: str, turns: int) -> Task:
        return Task(str(number), ({"role": "user", "content": f"say {parity}"},), (parity,), {"hops": turns})

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
        self.steps = 0

    async def step(self, action: Action) -> Observation:
        self.steps += 1
        if self.steps >= self.environment.turns:
            return Observation(done=True)
        await asyncio.sleep(self.environment.latency)
        return Observation(results=(self.environment.observation,))

    async def fork(self) -> Episode:
        copy = _Episode(self.environment, self.task)
        copy.steps = self.steps
        return copy

    async def reward(self, trajectory: Trajectory) -> Reward:
        said = [token for turn in trajectory.turns for token in turn.action.token_ids]
        hits = sum(token % 2 == PARITY[self.task.answers[0]] for token in said)
        share = hits / max(len(said), 1)
        return Reward(outcome=share, shaped=share)
