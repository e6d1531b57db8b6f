"""A class as TRL takes it that behaves well and badly, and a way to play with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from lightning_agentrl.environments.base import Observation
from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Task, Trajectory, Turn


class Counter:
    """Counts; its tools behave in all kinds of ways."""

    made = 0

    def __init__(self) -> None:
        Counter.made += 1
        self.count = 0
        self.log: list[str] = []
        self.closed = False

    def reset(self, start: int = 0, **columns: Any) -> str | None:
        self.count = start
        self.log = []
        return None

    def add(self, number: int) -> int:
        """Add to the count.

        Args:
            number: how much.
        """
        self.log.append(f"add {number}")
        self.count += number
        return self.count

    async def later(self, number: int) -> str:
        """Add to the count, a little later.

        Args:
            number: how much.
        """
        await asyncio.sleep(0.01)
        return f"now {self.add(number)}"

    def behave(self, how: str) -> Any:
        """Behave badly.

        Args:
            how: in which way.
        """
        if how == "raise":
            raise ZeroDivisionError("no way")
        if how == "hang":
            threading.Event().wait(5)
            self.count = -1
        blocks = [{"type": "text", "text": "a"}, {"type": "image", "image": object()}]
        odd = {"none": None, "bytes": b"raw", "half": "half \ud800", "flood": "x" * 10_000_000, "blocks": blocks}
        return odd.get(how, how)

    def get_reward(self) -> float:
        return float(self.count)

    def close(self) -> None:
        self.closed = True


ROWS = [{"prompt": "Count. ", "start": 3, "label": "x"}, {"prompt": "Count. ", "start": 4, "label": "y"}]


def environment(factory: Callable[[], Any] = Counter, data: Any = ROWS, **settings: Any) -> TRLEnvironment:
    return TRLEnvironment(factory, **{"rows": lambda split: data, **settings})


def call(name: str, **arguments: Any) -> ParsedCall:
    return ParsedCall(name, arguments)


def rollout(task: Task, *turns: Turn) -> Trajectory:
    return Trajectory(0, 0, 0, task, Segment((1, 2), sampled=False), turns)


def perform(made: TRLEnvironment, *turns: list[ParsedCall], task: int = 0) -> tuple[list[Observation], Reward]:
    """What an episode answers to these turns, and its verdict."""
    chosen = made.tasks("train")[task]

    async def run() -> tuple[list[Observation], Reward]:
        episode = await made.open(chosen, seed=0)
        try:
            heard = [await episode.step(Action("…", tuple(calls))) for calls in turns]
            return heard, await episode.reward(rollout(chosen))
        finally:
            await episode.close()

    return asyncio.run(run())
