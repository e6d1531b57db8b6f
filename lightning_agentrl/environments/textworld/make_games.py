"""Makes a set of text games: in parallel, no two alike, each one seen to be won by its solution."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from lightning_agentrl.environments.text_player import Player
from lightning_agentrl.environments.textworld.maker import Maker
from lightning_agentrl.environments.workers import Seat, WorkerPool, Workers

if TYPE_CHECKING:
    from lightning_agentrl.environments.textworld.game_set import GameSet

TO_MAKE = 180.0
"""Seconds that making one game may take at least."""
DUDS = 40
"""Seeds in a row that may give no new game before a level counts as used up."""


def make_games(games: GameSet, folder: Path, workers: Workers) -> None:
    """Write every part of a set into a folder, levels taking turns.

    Raises:
        ValueError: when there are not so many different games.
    """
    (folder / "games").mkdir()
    (scratch := folder / "scratch").mkdir()
    patient = max(workers.deadline, TO_MAKE)
    makers = WorkerPool(Maker, Workers(workers.processes, patient, workers.start_deadline), {"TMPDIR": str(scratch)})
    players = WorkerPool(Player, Workers(1, patient, workers.start_deadline))
    # Training comes last, so that more of it leaves the others as they are.
    parts = {"validation": games.validation, "demonstrations": games.demonstrations, "train": games.train}
    used: set[Path] = set()
    read: set[str] = set()
    try:
        seats = [makers.open() for _ in range(workers.processes)]
        sources = {level: _distinct(games, level, folder / "games", seats, players, read) for level in games.levels}
        for part, number in parts.items():
            with (folder / f"{part}.jsonl").open("w", encoding="utf-8") as file:
                for place in range(number):
                    row = next(sources[games.levels[place % len(games.levels)]])
                    used.add((folder / row["file"]).with_suffix(""))
                    if part != "demonstrations":
                        del row["walkthrough"]
                    file.write(json.dumps({"id": f"{games.kind}-{part}-{place}", **row}) + "\n")
        for source in sources.values():
            source.close()
    finally:
        makers.close()
        players.close()
    shutil.rmtree(scratch)
    for left in (folder / "games").iterdir():  # made ahead and not needed
        if left.with_suffix("") not in used:
            left.unlink()
    (folder / "settings.json").write_text(json.dumps(asdict(games), indent=2) + "\n", encoding="utf-8")


def _distinct(
    games: GameSet, level: int, folder: Path, seats: Sequence[Seat], players: WorkerPool, read: set[str]
) -> Generator[dict[str, Any]]:
    """Games of a level that can be won and read like none in ``read``, which grows; without end."""
    found = duds = 0
    for file, walkthrough in _made(games, level, folder, seats):
        row = None if walkthrough is None else _played(file, walkthrough, players)
        if row is None or row["read"] in read:
            duds += 1
            if duds == DUDS:
                raise ValueError(
                    f"There are no more than {found} different games of {games.kind} at level {level} to be found. "
                    f"Ask for fewer games, or for other levels."
                )
            continue
        found, duds = found + 1, 0
        read.add(row.pop("read"))
        file.with_suffix(".ni").unlink()  # the source
        yield {"file": f"games/{file.name}", "level": level, **row}


def _made(games: GameSet, level: int, folder: Path, seats: Sequence[Seat]) -> Iterator[tuple[Path, list[str] | None]]:
    """Games of a level with the commands that win them, in the order of their seeds, a few made ahead."""
    options = {"theme": games.theme, "rooms": games.rooms, "objects": games.objects}
    ahead: deque[tuple[Path, Future[Any]]] = deque()
    try:
        for number in count():
            file = folder / f"{level}-{number}.z8"
            seed = Random(f"{games.seed} {level} {number}").randrange(2**31)
            made = seats[number % len(seats)].submit("make", str(file), games.kind, level, seed, options)
            ahead.append((file, made))
            if len(ahead) > len(seats):
                file, made = ahead.popleft()
                yield file, made.result()
    finally:  # a compiler that outlives its maker would go on writing
        wait([made for _, made in ahead], timeout=TO_MAKE)


def _played(file: Path, walkthrough: Sequence[str], players: WorkerPool) -> dict[str, Any] | None:
    """How a game begins and how its solution reads; None if that does not win it.

    Two games are the same if their solutions read the same, descriptions left out: the names of rooms, what the
    commands do, and the commands themselves.
    """
    seat = players.open(str(file))
    opening: Mapping[str, Any] = seat.submit("play").result()
    read = [_first_line(opening["text"])]
    state = opening
    for command in walkthrough:
        state = seat.submit("step", command).result()
        read += [command, _first_line(state["text"])]
    seat.close()
    if not state["won"]:
        return None
    return {"moves": len(walkthrough), "opening": opening, "walkthrough": walkthrough, "read": "\n".join(read)}


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
