"""Readers of passages and questions from files of any kind, with an account of the rows that cannot be used."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from lightning_agentrl.data.fields import checked, fields, identity, text
from lightning_agentrl.data.files import raw_rows
from lightning_agentrl.data.layouts import LayoutName, QuestionRow, detected

SHOWN_BAD_ROWS = 5
"""How many bad rows a message spells out."""
LOOKED_AT = 20
"""How many rows may pass before one must show which layout a file has."""


@dataclass(frozen=True)
class Passage:
    """A row of a corpus; contents begin with the quoted title on a line of its own, if there is one."""

    id: str
    contents: str


class BadRow(NamedTuple):
    """A row that cannot be used."""

    file: Path
    line: int
    """Counted from 1; the number of the row where a file has no lines."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


class Identified(Protocol):
    """A row with an id of its own."""

    @property
    def id(self) -> str:
        """Unique in its file."""


Row = TypeVar("Row", bound=Identified)


def read_passages(path: Path, *, max_bad_rows: int = 10) -> list[Passage]:
    """Read a corpus, in the order of the file: rows of id and contents, or of id (or url), title and text.

    Args:
        path: a file that ends in .jsonl, .jsonl.gz, .json or .parquet, or a folder that `datasets` saved.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.

    Raises:
        ValueError: too many bad rows, or no good one; names file, line and reason of the first few.
        FileNotFoundError: no such file.
    """
    return list(each_passage(path, max_bad_rows=max_bad_rows))


def each_passage(path: Path, *, max_bad_rows: int = 10) -> Iterator[Passage]:
    """The passages of `read_passages` one by one, for corpora that memory does not hold."""
    return each_row(path, lambda _, row: passage(fields(row)), max_bad_rows=max_bad_rows)


def read_questions(path: Path, *, layout: LayoutName = "auto", max_bad_rows: int = 10) -> list[QuestionRow]:
    """Read questions and their accepted answers; see `read_passages` for other arguments and errors.

    Args:
        path: as `read_passages` takes it.
        layout: which keys hold what; auto finds out by the keys of the first rows.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.

    Raises:
        ValueError: the keys fit no layout; names those seen and those of each layout.
    """
    raw = raw_rows(path)
    first = list(islice(raw, LOOKED_AT))
    convert = detected(path, (row for row in map(_peeked, first) if row is not None), layout)
    return list(_usable(path, chain(first, raw), convert, max_bad_rows))


def read_rows(path: Path, convert: Callable[[Any], Row], *, max_bad_rows: int = 10) -> list[Row]:
    """Read rows of any layout; see `read_passages` for arguments and errors.

    Args:
        path: as `read_passages` takes it.
        convert: a raw row (whatever its JSON says) to what is wanted; raises ValueError for a row that cannot be used.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.
    """
    return list(each_row(path, lambda _, row: convert(row), max_bad_rows=max_bad_rows))


def each_row(path: Path, convert: Callable[[int, Any], Row], *, max_bad_rows: int = 10) -> Iterator[Row]:
    """The rows of `read_rows` one by one; ``convert`` is told their numbers too."""
    return _usable(path, raw_rows(path), convert, max_bad_rows)


def passage(row: Mapping[str, Any]) -> Passage:
    """A row of a corpus as a passage."""
    id = identity(row, next((key for key in ("id", "_id", "url") if key in row), "id"))
    if "contents" in row or "text" not in row:
        return Passage(id, text(row, "contents"))
    return Passage(id, checked(titled(row.get("title"), text(row, "text")), "title and text"))


def titled(title: Any, content: str) -> str:
    """A passage in the form of Search-R1 and FlashRAG: the quoted title on a line of its own, then the text."""
    return f'"{title}"\n{content}' if title else content


def _usable(
    path: Path, raw: Iterable[tuple[int, Any]], convert: Callable[[int, Any], Row], max_bad_rows: int
) -> Iterator[Row]:
    seen: set[str] = set()
    bad: list[BadRow] = []
    for line, content in raw:
        try:
            row = convert(line, _parsed(content))
            if row.id in seen:
                raise ValueError(f"id {row.id!r} was used before")
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(path, line, _reason(error)))
            if len(bad) > max_bad_rows:
                raise ValueError(
                    f"{path} has more than {max_bad_rows} bad rows (max_bad_rows); repair the file or raise the limit. "
                    f"The first ones:\n{_listed(bad)}"
                ) from None
        else:
            seen.add(row.id)
            yield row
    if not seen:
        raise ValueError(f"{path} holds no usable row.{_listed(bad) and chr(10) + _listed(bad)}")
    if bad:
        warnings.warn(f"Skipped {len(bad)} bad rows of {path}:\n{_listed(bad)}", stacklevel=3)


def _parsed(content: Any) -> Any:
    return json.loads(content.decode("utf-8-sig")) if isinstance(content, bytes) else content


def _peeked(numbered: tuple[int, Any]) -> Any:
    """A row for a look at its keys; None where it cannot be read."""
    try:
        return _parsed(numbered[1])
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno})"
    if isinstance(error, UnicodeError):
        return f"not valid Unicode ({error.reason})" if hasattr(error, "reason") else "not valid Unicode"
    return str(error)


def _listed(bad: list[BadRow]) -> str:
    lines = [f"  {row}" for row in bad[:SHOWN_BAD_ROWS]]
    return "\n".join(lines + ([f"  … and {len(bad) - SHOWN_BAD_ROWS} more"] if len(bad) > SHOWN_BAD_ROWS else []))
