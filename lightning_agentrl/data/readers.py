"""Readers of passages and questions in the Search-R1 / FlashRAG layout: JSON lines, gzipped JSON lines or Parquet."""

from __future__ import annotations

import gzip
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

SHOWN_BAD_ROWS = 5
"""How many bad rows a message spells out."""


@dataclass(frozen=True)
class Passage:
    """A row ``{"id", "contents"}`` of a corpus; contents begin with the quoted title on a line of its own."""

    id: str
    contents: str


@dataclass(frozen=True)
class QuestionRow:
    """A row ``{"id", "question", "golden_answers", "metadata"}``; metadata may be missing."""

    id: str
    question: str
    answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class BadRow(NamedTuple):
    """A row that cannot be used."""

    file: Path
    line: int
    """Counted from 1; in a Parquet file the number of the row."""
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
    """Read a corpus, in the order of the file.

    Args:
        path: a file that ends in .jsonl, .jsonl.gz or .parquet.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.

    Raises:
        ValueError: too many bad rows, or no good one; names file, line and reason of the first few.
        FileNotFoundError: no such file.
    """
    return read_rows(path, _passage, max_bad_rows=max_bad_rows)


def read_questions(path: Path, *, max_bad_rows: int = 10) -> list[QuestionRow]:
    """Read questions and their accepted answers; see `read_passages` for arguments and errors."""
    return read_rows(path, _question, max_bad_rows=max_bad_rows)


def read_rows(path: Path, convert: Callable[[Any], Row], *, max_bad_rows: int = 10) -> list[Row]:
    """Read a file of any layout; see `read_passages` for arguments and errors.

    Args:
        path: a file that ends in .jsonl, .jsonl.gz or .parquet.
        convert: a raw row (whatever its JSON says) to what is wanted; raises ValueError for a row that cannot be used.
        max_bad_rows: greatest number of rows to skip with a warning; one more raises.
    """
    rows: dict[str, Row] = {}
    bad: list[BadRow] = []
    for line, content in _raw_rows(path):
        try:
            row = convert(json.loads(content.decode("utf-8-sig")) if isinstance(content, bytes) else content)
            if row.id in rows:
                raise ValueError(f"id {row.id!r} was used before")
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(path, line, _reason(error)))
            if len(bad) > max_bad_rows:
                raise ValueError(
                    f"{path} has more than {max_bad_rows} bad rows (max_bad_rows); repair the file or raise the limit. "
                    f"The first ones:\n{_listed(bad)}"
                ) from None
        else:
            rows[row.id] = row
    if not rows:
        raise ValueError(f"{path} holds no usable row.{_listed(bad) and chr(10) + _listed(bad)}")
    if bad:
        warnings.warn(f"Skipped {len(bad)} bad rows of {path}:\n{_listed(bad)}", stacklevel=3)
    return list(rows.values())


def _raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers and rows: bytes of a JSON line, or a Parquet row as a dict. Blank lines do not count as rows."""
    if path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
        return
    line = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                if content.strip():
                    yield line, content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged after line {line}: {error}. Copy or download it again.") from error


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs pyarrow, which is not installed: pip install lightning-agentrl[data]"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole Parquet file: {error}. Copy or download it again.") from error


def _passage(row: Any) -> Passage:
    return Passage(_identity(row), _text(row, "contents"))


def _question(row: Any) -> QuestionRow:
    id, question = _identity(row), _text(row, "question")
    answers = _value(row, "golden_answers")
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"golden_answers must be a list of one or more texts, got {answers!r}")
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata must be an object, got {type(metadata).__name__}")
    return QuestionRow(id, question, tuple(_checked(answer, "an answer") for answer in answers), metadata)


def _identity(row: Any) -> str:
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object, got {type(row).__name__}")
    id = _value(row, "id")
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise ValueError(f"id must be a text or a whole number, got {id!r}")
    return str(id)


def _text(row: Mapping[str, Any], key: str) -> str:
    return _checked(_value(row, key), key)


def _value(row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise ValueError(f"{key} is missing; the row has {', '.join(map(str, row)) or 'nothing'}")
    return row[key]


def _checked(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    value.encode()  # half a surrogate pair is valid JSON, but no tokenizer takes it
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno})"
    if isinstance(error, UnicodeError):
        return f"not valid Unicode ({error.reason})" if hasattr(error, "reason") else "not valid Unicode"
    return str(error)


def _listed(bad: list[BadRow]) -> str:
    lines = [f"  {row}" for row in bad[:SHOWN_BAD_ROWS]]
    return "\n".join(lines + ([f"  … and {len(bad) - SHOWN_BAD_ROWS} more"] if len(bad) > SHOWN_BAD_ROWS else []))
