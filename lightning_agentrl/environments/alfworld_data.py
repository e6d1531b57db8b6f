"""Finds the games of ALFWorld that can be solved, and how each of them begins."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from lightning_agentrl.environments.workers import Seat, WorkerPool

log = logging.getLogger(__name__)

GAME, TRAJECTORY = "game.tw-pddl", "traj_data.json"
NOT_SUPPORTED = ("movable", "Sliced")
"""Parts of the names of folders whose tasks ALFWorld leaves out."""


@dataclass(frozen=True)
class Game:
    """A game on disk."""

    file: str
    type: str
    """One of ALFWorld's six types of tasks."""
    trial: str
    """Folders of the task and of the trial: what tells games apart."""
    changed: int
    """When the file was written last, in nanoseconds."""


@dataclass(frozen=True)
class Opened(Game):
    """A game and how it begins."""

    opening: Mapping[str, Any]
    """A state, as `text_player` describes it."""


def find_games(folder: Path, types: Collection[str]) -> list[Game]:
    """Solvable games of these types below a folder, in an order that is random and always the same.

    Raises:
        ValueError: when there are none.
    """
    found = []
    for described in sorted(folder.glob(f"*/*/{TRAJECTORY}")):
        file = described.parent / GAME
        trial = f"{described.parent.parent.name}/{described.parent.name}"
        if any(part in trial for part in NOT_SUPPORTED) or not file.is_file():
            continue
        kind = json.loads(described.read_text(encoding="utf-8"))["task_type"]
        if kind in types and json.loads(file.read_text(encoding="utf-8")).get("solvable"):
            found.append(Game(str(file.absolute()), kind, trial, file.stat().st_mtime_ns))
    if not found:
        raise ValueError(
            f"No game of {', '.join(sorted(types))} below {folder} is solvable: expected TASK/TRIAL/{TRAJECTORY} with "
            f"{GAME} beside it. `alfworld-download` fetches them."
        )
    Random("alfworld").shuffle(found)
    return found


def open_games(games: Sequence[Game], cache: Path, pool: WorkerPool, ahead: int) -> list[Opened]:
    """How each game begins, from the cache where it is known; what is new is added to it.

    Args:
        games: to open.
        cache: JSON lines.
        pool: of players.
        ahead: how many games to have open at a time.
    """
    known = {(row.file, row.changed): row for row in _read(cache)}
    new = [game for game in games if (game.file, game.changed) not in known]
    if new:
        log.info(f"Opening {len(new)} games for {cache}; once, then kept.")
        known |= {(row.file, row.changed): row for row in _opened(new, pool, ahead)}
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(f".partial-{os.getpid()}-{cache.name}")
        partial.write_text("".join(json.dumps(asdict(row)) + "\n" for row in known.values()), encoding="utf-8")
        os.replace(partial, cache)
    return [known[game.file, game.changed] for game in games]


def _read(cache: Path) -> Iterator[Opened]:
    if cache.is_file():
        for line in cache.read_text(encoding="utf-8").splitlines():
            yield Opened(**json.loads(line))


def _opened(games: Sequence[Game], pool: WorkerPool, ahead: int) -> Iterator[Opened]:
    running: deque[tuple[Game, Seat, Future[Any]]] = deque()
    for game in [*games, *[None] * ahead]:
        if game is not None:
            seat = pool.open(game.file)
            running.append((game, seat, seat.submit("play")))
        if running and (game is None or len(running) > ahead):
            first, seat, future = running.popleft()
            yield Opened(**asdict(first), opening=future.result())
            seat.close()
