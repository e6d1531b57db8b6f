"""Repairing small repositories as an environment: generated tasks, and a sandbox that runs what the policy writes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random

from lightning_agentrl.data.repair_tasks import LIBRARY, Repository, break_project, read_library
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.repair.episode import RepairEpisode
from lightning_agentrl.environments.repair.workspace import Workspace
from lightning_agentrl.environments.tools import ToolRules
from lightning_agentrl.tools.base import Tool
from lightning_agentrl.tools.sandbox import Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.view import libraries
from lightning_agentrl.types import Task, Turn

log = logging.getLogger(__name__)

SYSTEM_PROMPT = (
    "You repair a small Python repository with tools. Look at the files and run the tests, then change as little as "
    "you need. The tests in sight are right, but they are not all that will be checked. When the repository is "
    "repaired, say so without calling a tool."
)


@dataclass(frozen=True)
class Repair(Environment):
    """Finds and mends a bug in a repository of one to three files and its tests.

    Not SWE-bench: repositories are small projects of our own with one generated slip each, so numbers do not compare.
    The outcome is SWE-bench's: 1 if all cases hold that failed at first, and all that passed, else 0. Cases are
    expressions that are evaluated in a sandbox; what they should come to never enters it, and what it prints is
    compared outside. Validation tasks come from projects that no training task comes from.
    """

    tasks_per_project: int = 24
    """Bugs per project; some projects have fewer that their tests notice."""
    validation_projects: int = 5
    """Projects that only validation asks about."""
    seed: int = 0
    """Seed of the choice of bugs and of projects for validation."""
    sandbox: SandboxSettings = field(default_factory=lambda: SandboxSettings(preload=(), writable=True))
    """What tests may cost; programs always get a folder of their own, and modules to preload only if you name some."""
    system_prompt: str | None = SYSTEM_PROMPT
    """System message before each task; null gives none."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a malformed call, an unknown tool or wrong arguments; at least 0."""

    def __post_init__(self) -> None:
        projects = len(read_library())
        if self.tasks_per_project < 1 or not 1 <= self.validation_projects < projects:
            raise ValueError(
                f"tasks_per_project must be at least 1 and validation_projects from 1 to {projects - 1}, got "
                f"{self.tasks_per_project} and {self.validation_projects}."
            )
        ToolRules(invalid_call_penalty=self.invalid_call_penalty)  # refuses a negative one

    @property
    def tools(self) -> Sequence[Tool]:
        """View, search, edit and run_tests; each episode has them on files of its own."""
        return Workspace({}, self._sandbox).tools

    @property
    def gives_turn_rewards(self) -> bool:
        """Where invalid calls are penalised."""
        return self.invalid_call_penalty > 0

    def prepare(self) -> None:
        """See that programs can be contained, and what they could read."""
        seen = [path for path in libraries() if LIBRARY.is_relative_to(Path(path))]
        if seen:
            log.warning(
                f"Programs of the policy can read {seen[0]}, where the repositories lie as they were before they were "
                f"broken. Install lightning-agentrl into a virtual environment to keep the answers out of their reach."
            )
        _ = self._sandbox  # refuses a machine on which programs cannot be contained

    def tasks(self, split: Split) -> Sequence[Task]:
        """Bugs by project."""
        return self._tasks[split]

    async def open(self, task: Task, seed: int) -> Episode:
        """Start with the broken files; there is no chance in it, so the seed does not matter."""
        return self._begin(task)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """Start and repeat the edits; no test is run again, for tests leave nothing behind."""
        episode = self._begin(task)
        await episode.repeat(turns)
        return episode

    def close(self) -> None:
        """End the sandbox's processes."""
        self._sandbox.close()

    def _begin(self, task: Task) -> RepairEpisode:
        repository = self._repositories[task.id]
        rules = ToolRules(invalid_call_penalty=self.invalid_call_penalty)
        return RepairEpisode(repository, Workspace(repository.files, self._sandbox), self._sandbox, rules)

    @cached_property
    def _sandbox(self) -> Sandbox:
        return Sandbox(replace(self.sandbox, writable=True))

    @cached_property
    def _repositories(self) -> dict[str, Repository]:
        found = (
            repository
            for source in read_library()
            for repository in break_project(source, self.tasks_per_project, Random(f"{source.name} {self.seed}"))
        )
        return {repository.id: repository for repository in found}

    @cached_property
    def _tasks(self) -> dict[Split, tuple[Task, ...]]:
        names = [source.name for source in read_library()]
        held_out = set(Random(f"held out {self.seed}").sample(names, self.validation_projects))
        tasks = [(self._task(repository), repository.project in held_out) for repository in self._repositories.values()]
        return {
            "train": tuple(task for task, held in tasks if not held),
            "validation": tuple(task for task, held in tasks if held),
        }

    def _task(self, repository: Repository) -> Task:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        meta = {"project": repository.project, "bug": repository.kind, "files": len(repository.files)}
        return Task(repository.id, (*system, {"role": "user", "content": report(repository)}), meta=meta)


def report(repository: Repository) -> str:
    """The bug as a user reports it: the files, and one failing case in sight."""
    files = [f"- {path} ({text.count(chr(10))} lines)" for path, text in sorted(repository.files.items())]
    number = min(repository.failing & set(repository.visible))
    case, got, wanted = (part[number] for part in (repository.cases, repository.actual, repository.expected))
    return "\n".join(
        ["The repository:", *files, "", f"Something is wrong: {case}", f"gives {got}", f"instead of {wanted}"]
    )
