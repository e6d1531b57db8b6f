"""Questions from files as tasks, and what question-answering environments share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_agentrl.data.layouts import LayoutName
from lightning_agentrl.data.readers import read_questions
from lightning_agentrl.rewards.normalize import mentions
from lightning_agentrl.tools.base import Tool, ToolResult
from lightning_agentrl.tools.fetch import FetchTool
from lightning_agentrl.tools.search import SearchTool
from lightning_agentrl.types import Task


def read_tasks(
    path: Path,
    *,
    layout: LayoutName = "auto",
    system_prompt: str | None = None,
    limit: int | None = None,
    max_bad_rows: int = 10,
) -> tuple[Task, ...]:
    """Questions in the order of their file, each as the prompt of a task.

    Args:
        path: .jsonl, .jsonl.gz, .json, .parquet, or a folder that `datasets` saved.
        layout: which keys hold what; auto finds out.
        system_prompt: what the system says before each question, if anything.
        limit: take only the first so many.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.

    Raises:
        ValueError: there is no such file, it is in no known layout, or it has too many bad rows.
    """
    if not path.exists():
        raise ValueError(f"There are no questions at {path}.")
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    rows = read_questions(path, layout=layout, max_bad_rows=max_bad_rows)[:limit]
    return tuple(
        Task(row.id, (*system, {"role": "user", "content": row.question}), row.answers, row.metadata) for row in rows
    )


def reward_for_finding(task: Task, value: float) -> Callable[[Sequence[ToolResult]], float]:
    """Process reward of a turn: ``value`` where a result of its calls holds an accepted answer, else 0."""

    def reward(results: Sequence[ToolResult]) -> float:
        found = any(result.ok and mentions(result.text, answer) for result in results for answer in task.answers)
        return value if found else 0.0

    return reward


def check_tools(tools: Sequence[Tool]) -> None:
    """See that searches and pages are there, before a run.

    Raises:
        ValueError: saying which is not, and what to do.
    """
    for tool in tools:
        if isinstance(tool, SearchTool):
            tool.source.check()
        elif isinstance(tool, FetchTool):
            tool.pages.check()
