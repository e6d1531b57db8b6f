"""Which text games to make, and where they are: complete or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from lightning_agentrl.environments.textworld.make_games import make_games
from lightning_agentrl.environments.textworld.maker import COOKING, SIMPLE
from lightning_agentrl.environments.workers import Workers

Kind = Literal["coin_collector", "treasure_hunter", "simple", "cooking", "custom"]
Part = Literal["train", "validation", "demonstrations"]
LEVELS = {"coin_collector": 300, "treasure_hunter": 30, "simple": len(SIMPLE), "cooking": len(COOKING), "custom": 50}
"""Greatest level of each kind."""
LAYOUT = 1
"""Raise it when the same settings should give other files."""


@dataclass(frozen=True)
class GameSet:
    """Which games to make. The same settings give the same games."""

    kind: Kind = "coin_collector"
    """Find a coin; find one object and not another; a house with a fixed map; cook after a recipe; or custom, a quest
    among any objects."""
    levels: tuple[int, ...] = (2, 3, 4)
    """Difficulties, in equal shares. Of coin_collector 1-300 and treasure_hunter 1-30: TextWorld's own levels. Of
    simple 1-3: dense to sparse rewards. Of cooking 1-8: one ingredient to three in a house of twelve rooms. Of custom
    1-50: commands that the quest takes."""
    rooms: int = 5
    """Rooms of a custom game."""
    objects: int = 10
    """Objects of a custom game, at least those of its quest."""
    theme: Literal["house", "basic"] = "house"
    """Words of the game: rooms of a house, or plain ones with numbers, which only custom games know."""
    train: int = 96
    """Number of training games, over all levels."""
    validation: int = 32
    """Number of validation games; none of them reads like a training game."""
    demonstrations: int = 0
    """Number of games to take demonstrations from; they are neither trained nor validated on."""
    seed: int = 0
    """Of the games."""

    def __post_init__(self) -> None:
        top = LEVELS[self.kind]
        if not self.levels or not all(1 <= level <= top for level in self.levels):
            raise ValueError(f"levels of {self.kind} are numbers from 1 to {top}, got {self.levels}.")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must differ, got {self.levels}.")
        if min(self.train, self.validation, self.rooms) < 1 or min(self.demonstrations, self.objects) < 0:
            raise ValueError(f"A set of games needs positive numbers of games and rooms, got {self}.")
        if self.theme == "basic" and self.kind != "custom":
            raise ValueError(f"theme=basic needs kind=custom, got {self.kind}: the others have words of their own.")

    def folder(self, data_dir: Path) -> Path:
        """Where these games are kept."""
        return data_dir / f"{self.kind}-{self._digest}"

    def read(self, data_dir: Path, part: Part) -> list[dict[str, Any]]:
        """Rows of a part that was written.

        They have id, file, level, moves (of the solution) and opening (a state of the game); demonstrations also have
        their walkthrough.

        Raises:
            ValueError: when the games were not made.
        """
        folder = self.folder(data_dir)
        try:
            lines = (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise ValueError(f"No games at {folder}: `prepare` of the environment makes them.") from None
        rows = [json.loads(line) for line in lines]
        return [{**row, "file": str((folder / row["file"]).absolute())} for row in rows]

    def write(self, data_dir: Path, workers: Workers) -> None:
        """Make the games unless they are there.

        Raises:
            ImportError: without TextWorld.
            ValueError: when there are not so many different games.
        """
        require_textworld()
        folder = self.folder(data_dir)
        data_dir.mkdir(parents=True, exist_ok=True)
        partial = data_dir / f".partial-{folder.name}"
        with FileLock(data_dir / f".{folder.name}.lock"):
            if folder.is_dir():
                return
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            partial.mkdir()
            try:
                make_games(self, partial, workers)
                os.replace(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    @property
    def _digest(self) -> str:
        text = json.dumps({**asdict(self), "layout": LAYOUT}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def require_textworld() -> None:
    """Say what to install where TextWorld is missing."""
    if importlib.util.find_spec("textworld") is None or importlib.util.find_spec("jericho") is None:
        raise ImportError("Text games need TextWorld, which is not installed: pip install lightning-agentrl[textworld]")
