"""Demonstrations for a cold start, played by a script in the environment itself."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from lightning_agentrl.environments.base import Environment
from lightning_agentrl.environments.search_demonstrations import tool_call
from lightning_agentrl.types import Action, ParsedCall, Task

Player = Callable[[Sequence[Mapping[str, str]], Random], str | ParsedCall]
"""What a script says next after these messages: plain text, or one tool call."""
MAX_TURNS = 64
"""A demonstration ends here, should the environment not end it before."""


def write_demonstrations(
    environment: Environment, player: Player, tasks: Sequence[Task], path: Path, seed: int = 0
) -> None:
    """Play every task once and write the conversations, equal ones for equal arguments.

    A tiny policy learns from them how to act at all; reinforcement learning can improve on what a script does wrong
    *systematically*. What it seldom does wrong, the policy hardly ever does wrong either.

    Args:
        environment: whose episodes are played.
        player: the script.
        tasks: what to play.
        path: of the file, JSON lines; written beside and then renamed, so that it is always whole.
        seed: of the script's generator.
    """

    async def play_all() -> list[list[dict[str, str]]]:
        rng = Random(seed)
        return [await _play(environment, player, task, rng) for task in tasks]

    with ThreadPoolExecutor(1) as apart:  # where no event loop is running yet; in a notebook one is
        games = apart.submit(asyncio.run, play_all()).result()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text("".join(_rows(tasks, games)), encoding="utf-8")
    part.replace(path)


async def _play(environment: Environment, player: Player, task: Task, rng: Random) -> list[dict[str, str]]:
    messages = [dict(message) for message in task.messages]
    episode = await environment.open(task, seed=0)
    try:
        for _ in range(MAX_TURNS):
            move = player(messages, rng)
            said = move if isinstance(move, str) else tool_call(move.name, move.arguments)
            messages.append({"role": "assistant", "content": said})
            heard = await episode.step(Action(said, () if isinstance(move, str) else (move,)))
            if heard.done:
                return messages
            if heard.message is not None:
                messages.append({"role": "user", "content": heard.message})
            messages += [{"role": "tool", "content": result} for result in heard.results]
        return messages[: next(n for n in range(len(messages), 0, -1) if messages[n - 1]["role"] == "assistant")]
    finally:
        await episode.close()


def _rows(tasks: Sequence[Task], games: Sequence[Sequence[Mapping[str, str]]]) -> Iterator[str]:
    for task, messages in zip(tasks, games, strict=True):
        row: dict[str, Any] = {"id": task.id, "messages": messages}
        yield json.dumps(row, ensure_ascii=False) + "\n"
