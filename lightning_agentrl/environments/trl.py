"""Environment classes as TRL's ``environment_factory`` takes them, with TRL's data sets and reward functions."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lightning_agentrl.data.readers import read_rows
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.scripted import Player, write_demonstrations
from lightning_agentrl.environments.tools import ToolRules
from lightning_agentrl.environments.trl_episode import Instances, Kit, TRLEpisode, reset
from lightning_agentrl.environments.trl_rewards import TRLRewards
from lightning_agentrl.environments.trl_rows import TRLRow, with_observation
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.function import describe
from lightning_agentrl.tools.import_path import imported
from lightning_agentrl.types import Task

NO_TOOLS = frozenset({"reset", "get_reward"})


@dataclass(frozen=True)
class TRLEnvironment(Environment):
    """Runs a class that was written for TRL's GRPOTrainer, unchanged (checked against trl 1.16).

    ``reset(**row)`` gets all columns of a row and may return text, which is appended to the last message of the prompt;
    every other public method with a documented signature is a tool of the trajectory that it belongs to; the reward is
    what ``get_reward()`` returns plus what the reward functions do. Methods may be async.
    """

    factory: str | Callable[[], Any]
    """Import path of the class, or of a function without arguments that makes an instance."""
    rows: str | Callable[[Split], Iterable[Mapping[str, Any]]] | None = None
    """Import path of a function: the split, train or validation, to its rows, such as a Dataset. Or name files:"""
    train: Path | None = None
    """Training rows: JSON lines (also .gz) or Parquet, with a prompt (text or messages) and any further columns."""
    validation: Path | None = None
    """Validation rows."""
    reward_funcs: Sequence[str | Callable[..., Any]] = ()
    """Import paths of reward functions (prompts, completions, completion_ids, environments, **columns) -> numbers; each
    is called with one rollout at a time. None as a number leaves a function out."""
    reward_weights: Sequence[float] | None = None
    """Weights of the functions; null gives each 1, which is also that of get_reward."""
    hidden: Sequence[str] = ("close",)
    """Public methods that are no tools. One named close is called without arguments when the run ends."""
    reset_speaks: bool = True
    """Whether reset may return text. It is then called once for each row before a run, to learn how prompts end."""
    fork: Literal["replay", "copy"] = "replay"
    """How branches get their state: the calls are repeated, or the instance is deep-copied."""
    answer_column: str | None = None
    """Column with the accepted answer or answers, for credit that scores the ground truth; null knows none."""
    limits: ToolLimits = field(default_factory=ToolLimits)
    """What a call of each of the tools may cost. The calls of a trajectory run one after another, and none is repeated
    or shared: each may change the instance."""
    timeout: float = 60.0
    """Seconds for reset, get_reward and each reward function."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a malformed call, an unknown tool or wrong arguments; at least 0."""
    max_bad_rows: int = 10
    """Rows of a file that may be unusable; they are skipped with a warning."""
    player: str | Player | None = None
    """Import path of a script (messages, rng) -> text or call that plays demonstrations for a cold start; see
    `lightning_agentrl.environments.scripted`."""
    demonstration_passes: int = 4
    """How often the script plays the training rows."""
    demonstrations: Path | None = None
    """Demonstrations for the cold start of a tiny policy; the script, if one is named, plays the training rows."""

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.train is None) or (self.train is None) != (self.validation is None):
            raise ValueError("TRLEnvironment needs either rows, or both train and validation.")
        if self.reward_weights is not None and len(self.reward_weights) != len(self.reward_funcs):
            raise ValueError(
                f"There are {len(self.reward_funcs)} reward_funcs, but {len(self.reward_weights)} reward_weights."
            )
        if self.timeout <= 0 or self.demonstration_passes < 1:
            raise ValueError("timeout must be positive and demonstration_passes at least 1.")
        if self.player is not None and self.demonstrations is None:
            raise ValueError("TRLEnvironment has a player, but no place for its demonstrations; set demonstrations.")

    @property
    def tools(self) -> Sequence[Tool]:
        """The public methods, as a policy is told about them; those of a probe, which no trajectory plays with."""
        return tuple(self._kit.tools(self._probe))

    @property
    def gives_turn_rewards(self) -> bool:
        """Where malformed calls cost something; the class itself rewards whole rollouts."""
        return bool(self.invalid_call_penalty)

    def prepare(self) -> None:
        """Check the class, reset it once for each row, and have the script play, if there is one."""
        for split in ("train", "validation"):
            self.tasks(split)
        if self.player is not None and self.demonstrations is not None:
            player: Player = imported(self.player, "player") if isinstance(self.player, str) else self.player
            write_demonstrations(self, player, self.tasks("train") * self.demonstration_passes, self.demonstrations)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        """One per row, in the order of the rows."""
        return self._train if split == "train" else self._validation

    async def open(self, task: Task, seed: int) -> Episode:
        """Reset an instance with the task's row; no seed is handed on, so chance has to come from a column.

        Raises:
            InfrastructureError: when making or resetting it fails.
            ValueError: when it says something else than it did for the prompt.
        """
        instance = await self._instances.take()
        try:
            said = await self._instances.within(lambda: reset(instance, task.meta), f"{self._name}.reset")
        except BaseException:
            await self._instances.discard(instance)
            raise
        if with_observation(TRLRow.of(task.meta).messages, said) != task.messages:
            wrong = (
                "Its start must follow from the columns of the row, such as a seed: a group of rollouts starts alike."
                if self.reset_speaks
                else "Set reset_speaks: true, for the prompt lacks that."
            )
            await self._instances.discard(instance)
            raise ValueError(
                f"{self._name}.reset said {said!r} for task {task.id!r}; its prompt ends otherwise. {wrong}"
            )
        return TRLEpisode(self._kit, instance)

    def close(self) -> None:
        """Close the instances that no trajectory holds, and forget them."""
        self._instances.close()

    @cached_property
    def _kit(self) -> Kit:
        rules = ToolRules(invalid_call_penalty=self.invalid_call_penalty)
        limits = replace(self.limits, retries=0, cached=False)
        return Kit(self._described, limits, self._instances, self._rewards, rules, self.fork == "copy")

    @cached_property
    def _instances(self) -> Instances:
        factory = imported(self.factory, "factory") if isinstance(self.factory, str) else self.factory
        return Instances(factory, self.timeout, closes="close" in self.hidden)

    @cached_property
    def _probe(self) -> Any:
        """An instance to learn from what there is."""
        instance = self._instances.make()
        if not callable(getattr(instance, "reset", None)) or inspect.iscoroutinefunction(instance.reset):
            raise ValueError(f"{type(instance).__name__} must have a method reset(**row) that is not async.")
        self._instances.give_back(instance)
        return instance

    @property
    def _name(self) -> str:
        return type(self._probe).__name__

    @cached_property
    def _described(self) -> Mapping[str, Mapping[str, Any]]:
        """Name and schema of each tool."""
        public = [
            name
            for name, _ in inspect.getmembers(type(self._probe), inspect.isfunction)
            if not name.startswith("_") and name not in NO_TOOLS and name not in self.hidden
        ]
        described = {}
        for name in public:
            try:
                described[name] = describe(getattr(self._probe, name))
            except ValueError as error:
                raise ValueError(f"{self._name}.{name} cannot be a tool. {error} Or list it under hidden.") from error
        return described

    @cached_property
    def _rewards(self) -> TRLRewards:
        functions = [imported(f, "reward_funcs") if isinstance(f, str) else f for f in self.reward_funcs]
        owns = callable(getattr(type(self._probe), "get_reward", None))
        if not functions and not owns:
            raise ValueError(f"{self._name} has no get_reward method; set reward_funcs.")
        return TRLRewards(
            functions, self.reward_weights or [1.0] * len(functions), self._name if owns else None, self.timeout
        )

    @cached_property
    def _train(self) -> tuple[Task, ...]:
        return self._read("train")

    @cached_property
    def _validation(self) -> tuple[Task, ...]:
        return self._read("validation")

    def _read(self, split: Split) -> tuple[Task, ...]:
        self._rewards, self._described  # noqa: B018 - what is wrong with the class shows before the data are read
        numbers = itertools.count()

        def convert(raw: Any) -> TRLRow:
            return TRLRow.of(raw, next(numbers))

        if self.rows is not None:
            source = imported(self.rows, "rows") if isinstance(self.rows, str) else self.rows
            rows = [convert(raw) for raw in source(split)]
            if len({row.id for row in rows}) < len(rows) or not rows:
                raise ValueError(
                    f"The {split} rows need an id of their own each, or no column id; got {len(rows)} rows."
                )
        else:
            path = self.train if split == "train" else self.validation
            assert path is not None
            if not path.is_file():
                raise ValueError(f"TRLEnvironment found no {split} file at {path}.")
            rows = read_rows(path, convert, max_bad_rows=self.max_bad_rows)
        return tuple(self._task(row) for row in rows)

    def _task(self, row: TRLRow) -> Task:
        said = None
        if self.reset_speaks:
            try:
                said = self._instances.now(lambda instance: reset(instance, row.columns))
            except Exception as error:  # the class may raise anything
                raise ValueError(
                    f"{self._name}.reset fails for row {row.id}: {type(error).__name__}: {error}"
                ) from error
        return Task(row.id, with_observation(row.messages, said), row.answers(self.answer_column), row.columns)
