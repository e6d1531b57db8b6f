"""Questions from files, answered with any tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lightning_agentrl.data.layouts import LayoutName
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.questions import check_tools, read_tasks, reward_for_finding
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.sources import ToolSource, flatten
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Task, Turn


@dataclass(frozen=True)
class ToolQA(Environment):
    """Answers questions by calling tools that keep nothing between calls, as many and whichever the policy likes."""

    train: Path
    """Training questions: .jsonl, .jsonl.gz, .json, .parquet, or a folder that `datasets` saved."""
    validation: Path
    """Validation questions."""
    toolset: Sequence[Tool | ToolSource]
    """What the policy may call."""
    layout: LayoutName = "auto"
    """Which keys hold question and answers; auto finds out by the keys of the first rows."""
    reward: Rewards = field(default_factory=lambda: Rewards(ExactMatch()))
    """The verdict: outcome, bonuses and gates."""
    limits: Mapping[str, ToolLimits] = field(default_factory=dict)
    """What a call may cost, by the name of the tool, instead of the tool's own limits."""
    system_prompt: str | None = None
    """System message before each question; none by default."""
    answer_template: str = "<answer> {answer} </answer>"
    """How the policy writes its answer, {answer} in its place; information gain scores the ground truth there."""
    turn_reward: float = 0.0
    """Process reward of a turn in which a tool returns an accepted answer; 0 gives none."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a malformed call, an unknown tool or wrong arguments; at least 0."""
    demonstrations: Path | None = None
    """Conversations for the cold start of a tiny policy: JSON lines of chat messages."""
    max_train_tasks: int | None = None
    """Use only the first so many training questions."""
    max_validation_tasks: int | None = None
    """Use only the first so many validation questions."""
    max_bad_rows: int = 10
    """Rows of a file that may be unusable; they are skipped with a warning."""

    def __post_init__(self) -> None:
        if not self.toolset:
            raise ValueError("ToolQA needs one tool at least in its toolset.")
        if self.invalid_call_penalty < 0:
            raise ValueError(f"invalid_call_penalty must not be negative, got {self.invalid_call_penalty}.")

    @property
    def tools(self) -> Sequence[Tool]:
        """The set of tools, those of sources in their place."""
        return tuple(self._toolbox.tools.values())

    @property
    def gives_turn_rewards(self) -> bool:
        """Where one of the two settings is not 0."""
        return bool(self.turn_reward or self.invalid_call_penalty)

    def prepare(self) -> None:
        """Check that questions and tools can be used."""
        self.tasks("train")
        self.tasks("validation")
        check_tools(self.tools)

    def tasks(self, split: Split) -> Sequence[Task]:
        """Questions in the order of their file."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start an episode; calls leave nothing behind, so the seed does not matter."""
        rules = ToolRules(reward_for_finding(task, self.turn_reward), self.invalid_call_penalty)
        return ToolEpisode(self._toolbox, self.reward, group=(task.id, seed), rules=rules)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """A fresh episode: calls leave nothing behind, so nothing has to be replayed."""
        return await self.open(task, seed)

    def close(self) -> None:
        """Close tools and rewards."""
        if "_toolbox" in vars(self):
            self._toolbox.close()
        self.reward.close()

    @cached_property
    def _toolbox(self) -> Toolbox:
        return Toolbox(flatten(self.toolset), self.limits)

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return self._read(self.train, self.max_train_tasks)

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return self._read(self.validation, self.max_validation_tasks)

    def _read(self, path: Path, limit: int | None) -> tuple[Task, ...]:
        return read_tasks(
            path, layout=self.layout, system_prompt=self.system_prompt, limit=limit, max_bad_rows=self.max_bad_rows
        )
