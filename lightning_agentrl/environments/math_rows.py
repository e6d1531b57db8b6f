r"""Reads problems whose answers stand in a column of their own, or somewhere in a worked solution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_agentrl.data.fields import checked, fields, identity, metadata, text, value
from lightning_agentrl.data.readers import each_row
from lightning_agentrl.rewards.boxed import boxed

BOXED = "boxed"


@dataclass(frozen=True)
class MathRow:
    """A problem, its accepted answers, and what else is known of it, such as its level."""

    id: str
    problem: str
    answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MathColumns:
    """Where a file has what."""

    problem: str = "problem"
    """Column of the problem's text: question in GSM8K."""
    answer: str = "answer"
    """Column of the answer, a text, a number or a list of them: solution in MATH."""
    answer_pattern: str | None = None
    r"""Regular expression with one group, whose last match in that column is the answer: "#### (.+)" for GSM8K. The
    word boxed takes what is in the last \boxed{…}, for MATH. Null takes all of the column."""

    def __post_init__(self) -> None:
        if self.answer_pattern in (None, BOXED):
            return
        try:
            groups = re.compile(self.answer_pattern).groups
        except re.error as error:
            raise ValueError(f"answer_pattern is no regular expression ({error}): {self.answer_pattern!r}.") from error
        if groups != 1:
            raise ValueError(f"answer_pattern needs one group, the answer; {self.answer_pattern!r} has {groups}.")


def read_problems(path: Path, columns: MathColumns, *, max_bad_rows: int = 10) -> list[MathRow]:
    """Read a file of problems, in its order.

    Rows without an id are known by their number. Further columns become meta data.

    Args:
        path: .jsonl, .jsonl.gz, .json, .parquet, or a folder that `datasets` saved.
        columns: where the file has what.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.

    Raises:
        ValueError: too many bad rows, or no good one; names file, line and reason of the first few.
        FileNotFoundError: no such file.
    """
    return list(each_row(path, lambda line, row: _row(path, line, fields(row), columns), max_bad_rows=max_bad_rows))


def _row(path: Path, line: int, row: Mapping[str, Any], columns: MathColumns) -> MathRow:
    id = identity(row) if row.get("id") is not None else f"{path.name.split('.')[0]}-{line}"
    found = value(row, columns.answer)
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise ValueError(f"{columns.answer} is an empty list")
    answers = tuple(dict.fromkeys(_answer(entry, columns) for entry in listed))
    known = {"id", "metadata", columns.problem, columns.answer}
    about = {key: content for key, content in row.items() if key not in known}
    return MathRow(id, text(row, columns.problem), answers, {**about, **metadata(row)})


def _answer(content: Any, columns: MathColumns) -> str:
    """One accepted answer. True and false are no numbers."""
    written = checked(str(content) if type(content) in (int, float) else content, columns.answer)
    if columns.answer_pattern is None:
        return written.strip()
    if columns.answer_pattern == BOXED:
        found = boxed(written)
    else:
        found = next(reversed(re.findall(columns.answer_pattern, written)), None)
    if found is None:
        raise ValueError(f"{columns.answer} holds no match of answer_pattern {columns.answer_pattern!r}")
    return checked(found, f"the answer in {columns.answer}").strip()
