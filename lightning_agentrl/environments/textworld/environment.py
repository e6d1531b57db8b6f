"""Games that TextWorld generates, played in worker processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.text_actions import TextActions
from lightning_agentrl.environments.text_games import Stage, TextPrompt, TextRules
from lightning_agentrl.environments.text_player import Player
from lightning_agentrl.environments.textworld.demonstrations import TextDemonstrator, text_demonstrations
from lightning_agentrl.environments.textworld.game_set import GameSet, require_textworld
from lightning_agentrl.environments.workers import WorkerPool, Workers
from lightning_agentrl.types import Task, Turn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextWorldGames(Environment):
    """Plays generated text games (arXiv:1806.11532); the outcome is whether a game was won.

    Actions are plain text, ``<action>go east</action>``, and the answer is the next message: no tools. Set
    ``data.max_turns`` to the number of commands that a game may take.
    """

    data_dir: Path
    """Folder for games and demonstrations; games are made once per setting and kept."""
    games: GameSet = field(default_factory=GameSet)
    """Which games to make."""
    prompt: TextPrompt = field(default_factory=TextPrompt)
    """How a state is put to the policy."""
    actions: TextActions = field(default_factory=TextActions)
    """How a command is read from what the policy says."""
    invalid_action_penalty: float = 0.1
    """Penalty of a turn without a well-formed action; needs a credit assigner of turns if it is not 0."""
    turn_reward: float = 0.0
    """What a turn earns that scores all points of the game; a part of them earns a part."""
    outcome: Literal["won", "score"] = "won"
    """1 for a game that was won, else 0; or the share of points that were scored."""
    reward_scale: float = 1.0
    """The shaped reward is so many outcomes; verl-agent's is 10."""
    demonstrator: TextDemonstrator = field(default_factory=TextDemonstrator)
    """Plays ``games.demonstrations`` games for the cold start of a tiny policy."""
    workers: Workers = field(default_factory=Workers)
    """Processes that play the games; a game takes about 2 MB in one."""

    def __post_init__(self) -> None:
        self._rules  # noqa: B018 - checks them

    @property
    def gives_turn_rewards(self) -> bool:
        """Where one of the two settings is not 0."""
        return bool(self.turn_reward or self.invalid_action_penalty)

    @property
    def demonstrations(self) -> Path | None:
        """Of the demonstrator, once they were written."""
        path = self._demonstrations
        return path if path.is_file() else None

    def prepare(self) -> None:
        """Make the games and play the demonstrations, unless they are there."""
        require_textworld()
        folder = self.games.folder(self.data_dir)
        if not folder.is_dir():
            games = self.games.train + self.games.validation + self.games.demonstrations
            log.info(f"Making {games} games for {folder}; once, then kept.")
            self.games.write(self.data_dir, self.workers)
        if self.games.demonstrations and not self._demonstrations.is_file():
            self._write_demonstrations()

    def tasks(self, split: Split) -> Sequence[Task]:
        """One per game, levels taking turns."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start a game in a worker."""
        return await self._stage.open(task.meta["file"], seed)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """Start a game and give the commands of these turns: some milliseconds each."""
        return await self._stage.resume(task.meta["file"], seed, turns)

    def close(self) -> None:
        """End the workers."""
        self._stage.pool.close()

    @property
    def _rules(self) -> TextRules:
        return TextRules(self.actions, self.invalid_action_penalty, self.turn_reward, self.outcome, self.reward_scale)

    @cached_property
    def _stage(self) -> Stage:
        return Stage(WorkerPool(Player, self.workers), self.prompt, self._rules)

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return self._read("train")

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return self._read("validation")

    def _read(self, split: Split) -> tuple[Task, ...]:
        rows = self.games.read(self.data_dir, split)
        return tuple(
            Task(
                row["id"],
                self.prompt.messages(row["opening"]),
                meta={"file": row["file"], "level": row["level"], "moves": row["moves"]},
            )
            for row in rows
        )

    @property
    def _demonstrations(self) -> Path:
        digest = hashlib.blake2b(repr((self.demonstrator, self.prompt)).encode(), digest_size=5).hexdigest()
        return self.games.folder(self.data_dir) / f"demonstrations-{digest}.jsonl"

    def _write_demonstrations(self) -> None:
        """Play and write; the file appears complete or not at all."""
        path = self._demonstrations
        log.info(f"Playing {self.demonstrator.count} demonstrations for {path}; once, then kept.")
        games = self.games.read(self.data_dir, "demonstrations")
        pool = WorkerPool(Player, self.workers)
        partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
        try:
            with partial.open("w", encoding="utf-8") as file:
                for row in text_demonstrations(games, self.demonstrator, self.prompt, pool):
                    file.write(json.dumps(row) + "\n")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
            pool.close()
