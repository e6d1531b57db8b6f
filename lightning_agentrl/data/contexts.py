"""Makes a corpus of the paragraphs that HotpotQA, 2WikiMultihopQA and MuSiQue put beside each question."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_agentrl.data.fields import checked, fields
from lightning_agentrl.data.readers import each_row


@dataclass(frozen=True)
class Context:
    """The paragraphs of one question, as (title, text)."""

    id: str
    paragraphs: tuple[tuple[str, str], ...]


def make_corpus(questions: Sequence[Path], out: Path, *, max_bad_rows: int = 10) -> str:
    """Write the paragraphs of question files as a corpus, each different one once.

    Every question can then be answered by searching. The corpus is far smaller than Wikipedia, hence easier to search:
    numbers on it are not those of the open-domain setting.

    Args:
        questions: files of HotpotQA, 2WikiMultihopQA or MuSiQue, training and validation together.
        out: corpus to write, JSON lines of id and contents.
        max_bad_rows: rows per file that may be unusable; they are skipped with a warning.

    Returns:
        One line that says what was done.

    Raises:
        ValueError: too many bad rows, or none with paragraphs.
    """
    paragraphs: dict[tuple[str, str], None] = {}
    count = 0
    for path in questions:
        for context in each_row(path, _context, max_bad_rows=max_bad_rows):
            paragraphs.update(dict.fromkeys(context.paragraphs))
            count += 1
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for number, (title, text) in enumerate(paragraphs):
            row = {"id": str(number), "contents": f'"{title}"\n{text}'}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.replace(partial, out)
    return f"Wrote {len(paragraphs)} passages beside {count} questions to {out}."


def _context(line: int, row: Any) -> Context:
    try:
        found = tuple(_paragraphs(fields(row)))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the paragraphs have another form than HotpotQA's or MuSiQue's ({error!r})") from error
    if not found:
        raise ValueError(f"there is neither context nor paragraphs with text; the row has {', '.join(row)}")
    return Context(str(line), found)


def _paragraphs(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """MuSiQue's paragraphs are objects; HotpotQA's are pairs of title and sentences, or two columns of them."""
    for paragraph in row.get("paragraphs") or []:
        yield _pair(paragraph["title"], paragraph["paragraph_text"])
    context = row.get("context") or []
    if isinstance(context, dict):
        context = zip(context["title"], context.get("sentences") or context["content"], strict=True)
    for title, sentences in context:
        text = " ".join(sentence.strip() for sentence in sentences)
        if text.strip():  # a few articles of HotpotQA are a title alone
            yield _pair(title, text)


def _pair(title: Any, text: Any) -> tuple[str, str]:
    return checked(title, "a title").strip(), checked(text, "a paragraph").strip()
