"""Mathematics with tools, by default a Python interpreter: problems from files, or generated ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.math_data import MathProblems, write_problems
from lightning_agentrl.environments.math_rows import MathColumns, MathRow, read_problems
from lightning_agentrl.environments.questions import reward_for_finding
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rewards.mathematics import MathVerify
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Task, Turn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MathQA(Environment):
    """Solves problems by calling tools; the outcome is whether the answer equals an accepted one.

    The accepted answers stay with the task and the verdict: a tool gets what the policy wrote, and nothing else.
    """

    data_dir: Path | None = None
    """Folder with train.jsonl, validation.jsonl and maybe demonstrations.jsonl."""
    generate: MathProblems | None = None
    """Problems to make up and write to data_dir before the first use; null reads what is there."""
    train: Path | None = None
    """Training problems instead of those in data_dir: .jsonl, .jsonl.gz, .json, .parquet, or a saved dataset."""
    validation: Path | None = None
    """Validation problems instead of those in data_dir."""
    columns: MathColumns = field(default_factory=MathColumns)
    """Where these files have problems and answers."""
    toolset: Sequence[Tool] | None = None
    """What the policy may call; null gives it the sandboxed Python interpreter alone."""
    limits: Mapping[str, ToolLimits] = field(default_factory=dict)
    """What a call may cost, by the name of the tool, instead of the tool's own limits."""
    reward: Rewards | None = None
    """The verdict: outcome, bonuses and gates. Null: MathVerify, or for generated problems, whose answers are whole
    numbers, ExactMatch."""
    system_prompt: str | None = None
    """System message before each problem; none by default."""
    answer_template: str = "<answer> {answer} </answer>"
    """How the policy writes its answer, {answer} in its place; information gain scores the ground truth there."""
    turn_reward: float = 0.0
    """Process reward of a turn in which a tool returns an accepted answer; 0 gives none."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a malformed call, an unknown tool or wrong arguments; at least 0."""
    max_train_tasks: int | None = None
    """Use only the first so many training problems."""
    max_validation_tasks: int | None = None
    """Use only the first so many validation problems."""
    max_bad_rows: int = 10
    """Rows of a file that may be unusable; they are skipped with a warning."""

    def __post_init__(self) -> None:
        if self.invalid_call_penalty < 0:
            raise ValueError(f"invalid_call_penalty must not be negative, got {self.invalid_call_penalty}.")
        if self.data_dir is None and None in (self.train, self.validation):
            raise ValueError("MathQA needs data_dir, or both train and validation.")
        if self.generate is not None and self.data_dir is None:
            raise ValueError("MathQA writes the problems that it generates to data_dir, which is not set.")
        _ = self._judge  # a package that it lacks is missed now, not after a model was loaded

    @property
    def tools(self) -> Sequence[Tool]:
        """The set of tools, or the Python interpreter."""
        return self._tools

    @property
    def gives_turn_rewards(self) -> bool:
        """Where one of the two settings is not 0."""
        return bool(self.turn_reward or self.invalid_call_penalty)

    @property
    def demonstrations(self) -> Path | None:
        """Those in data_dir, which generated problems come with."""
        path = self.data_dir / "demonstrations.jsonl" if self.data_dir else None
        return path if path and path.is_file() else None

    def prepare(self) -> None:
        """Write problems if they are to be generated; then check that files and tools can be used."""
        if self.generate is not None and self.data_dir is not None:
            log.info(write_problems(self.generate, self.data_dir))
        self.tasks("train")
        self.tasks("validation")
        _ = self._toolbox

    def tasks(self, split: Split) -> Sequence[Task]:
        """Problems in the order of their file."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start an episode; calls leave nothing behind, so the seed does not matter."""
        rules = ToolRules(reward_for_finding(task, self.turn_reward), self.invalid_call_penalty)
        return ToolEpisode(self._toolbox, self._judge, group=(task.id, seed), rules=rules)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """A fresh episode: each call starts afresh, so nothing has to be replayed."""
        return await self.open(task, seed)

    def close(self) -> None:
        """Close tools and rewards."""
        if "_toolbox" in vars(self):
            self._toolbox.close()
        self._judge.close()

    @cached_property
    def _judge(self) -> Rewards:
        if self.reward is not None:
            return self.reward
        return Rewards(MathVerify() if self.generate is None else ExactMatch())

    @cached_property
    def _tools(self) -> Sequence[Tool]:
        if self.toolset is not None:
            return self.toolset
        from lightning_agentrl.tools.python import PythonTool  # looks what this machine can contain programs with

        return (PythonTool(),)

    @cached_property
    def _toolbox(self) -> Toolbox:
        return Toolbox(self.tools, self.limits)

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return self._read("train", self.train, self.max_train_tasks)

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return self._read("validation", self.validation, self.max_validation_tasks)

    def _read(self, split: Split, explicit: Path | None, limit: int | None) -> tuple[Task, ...]:
        path = explicit or Path(self.data_dir or ".") / f"{split}.jsonl"
        if not path.exists():
            raise ValueError(
                f"MathQA found no {split} file at {path}. Set generate to have problems made up, or point data_dir or "
                f"{split} at your own."
            )
        # Generated files have columns of their own, whatever other files have.
        columns = MathColumns() if explicit is None and self.generate is not None else self.columns
        rows = read_problems(path, columns, max_bad_rows=self.max_bad_rows)
        return tuple(self._task(row) for row in rows[:limit])

    def _task(self, row: MathRow) -> Task:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return Task(row.id, (*system, {"role": "user", "content": row.problem}), row.answers, row.metadata)
