"""The household tasks of ALFWorld, with the package's own games, played in worker processes."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from lightning_agentrl.environments.alfworld_data import Opened, find_games, open_games
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.text_actions import TextActions
from lightning_agentrl.environments.text_games import Stage, TextPrompt, TextRules
from lightning_agentrl.environments.text_player import Player
from lightning_agentrl.environments.workers import WorkerPool, Workers
from lightning_agentrl.types import Task, Turn

log = logging.getLogger(__name__)

TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]
FOLDERS = {"train": "train", "eval_in_distribution": "valid_seen", "eval_out_of_distribution": "valid_unseen"}
"""Of the splits, as ALFWorld names both."""
FIRST = """\
You are in a household, told in text.
{observation}

Your task is to: {objective}
Commands that are possible now: {commands}

Think inside <think></think>, then give one of the commands inside <action></action>."""
LATER = """\
{observation}

Your task is to: {objective}
Commands that are possible now: {commands}"""


@dataclass(frozen=True)
class ALFWorldGames(Environment):
    """Does household tasks (arXiv:2010.03768) after the protocol of verl-agent; set ``data.max_turns`` to 50.

    Deviations: the context grows by one message a turn, where verl-agent writes a new prompt with the last two turns.
    Games come in a fixed shuffled order, types mixed.
    """

    data_dir: Path | None = None
    """Folder of ALFWorld's data, with json_2.1.1 in it; $ALFWORLD_DATA if null."""
    cache_dir: Path = Path("runs/data/alfworld")
    """Folder for how each game begins; found out once, by opening it."""
    validation: Literal["eval_in_distribution", "eval_out_of_distribution"] = "eval_in_distribution"
    """Rooms of training, or rooms that training never saw."""
    task_types: tuple[TaskType, ...] = get_args(TaskType)
    """Types of tasks to use; also what ``data.success_by: type`` tells apart."""
    max_train_tasks: int | None = None
    """Use only so many training games."""
    max_validation_tasks: int | None = None
    """Use only so many validation games."""
    prompt: TextPrompt = field(default_factory=lambda: TextPrompt(FIRST, LATER))
    """How a state is put to the policy."""
    actions: TextActions = field(default_factory=lambda: TextActions(needs_thought=True))
    """How a command is read from what the policy says."""
    invalid_action_penalty: float = 0.1
    """Penalty of a turn without a well-formed action; needs a credit assigner of turns if it is not 0."""
    reward_scale: float = 1.0
    """The shaped reward of a task that was done; verl-agent's is 10."""
    workers: Workers = field(default_factory=lambda: Workers(processes=4, deadline=120.0))
    """Processes that play the games: 70 MB each, and some MB for each game in them."""

    def __post_init__(self) -> None:
        if not self.task_types:
            raise ValueError("task_types names no type of task.")
        self._rules  # noqa: B018 - checks them

    @property
    def gives_turn_rewards(self) -> bool:
        """Where invalid actions cost something."""
        return bool(self.invalid_action_penalty)

    def prepare(self) -> None:
        """Find the games, and open each one once to see how it begins.

        Raises:
            ImportError: without ALFWorld.
            ValueError: without its data.
        """
        for name in ("textworld", "alfworld", "fast_downward"):
            if importlib.util.find_spec(name) is None:
                raise ImportError(
                    f"ALFWorld's games need {name}, which is not installed: pip install lightning-agentrl[alfworld]. "
                    f"It compiles a planner, for which a C++ compiler and cmake have to be there."
                )
        try:
            self.tasks("train")
            self.tasks("validation")
        except BaseException:
            self.close()
            raise

    def tasks(self, split: Split) -> Sequence[Task]:
        """One per game that can be solved."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start a game in a worker."""
        return await self._stage.open(task.meta["file"], seed)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """Start a game and give the commands of these turns."""
        return await self._stage.resume(task.meta["file"], seed, turns)

    def close(self) -> None:
        """End the workers."""
        self._stage.pool.close()

    @property
    def _rules(self) -> TextRules:
        return TextRules(self.actions, self.invalid_action_penalty, reward_scale=self.reward_scale)

    @cached_property
    def _stage(self) -> Stage:
        # On import ALFWorld makes the folder that the variable names, or one in the home folder.
        return Stage(WorkerPool(Player, self.workers, {"ALFWORLD_DATA": str(self._data)}), self.prompt, self._rules)

    @property
    def _data(self) -> Path:
        """Where the data is.

        Raises:
            ValueError: when it is nowhere.
        """
        place = self.data_dir or Path(os.environ.get("ALFWORLD_DATA", "~/.cache/alfworld")).expanduser()
        if not (place / "json_2.1.1").is_dir():
            raise ValueError(
                f"ALFWorld's data is not in {place}: expected a folder json_2.1.1 with train, valid_seen and "
                f"valid_unseen. Run `alfworld-download --data-dir {place}`, or set data_dir or $ALFWORLD_DATA."
            )
        return place

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return self._read("train", self.max_train_tasks)

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return self._read(self.validation, self.max_validation_tasks)

    def _read(self, split: str, limit: int | None) -> tuple[Task, ...]:
        games = find_games(self._data / "json_2.1.1" / FOLDERS[split], self.task_types)[:limit]
        cache = self.cache_dir / f"{split}.jsonl"
        opened = open_games(games, cache, self._stage.pool, ahead=2 * self.workers.processes)
        return tuple(self._task(f"alfworld-{split}-{place}", game) for place, game in enumerate(opened))

    def _task(self, id: str, game: Opened) -> Task:
        meta = {"file": game.file, "type": game.type, "trial": game.trial}
        return Task(id, self.prompt.messages(game.opening), meta=meta)
