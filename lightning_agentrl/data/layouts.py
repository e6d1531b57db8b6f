"""Which keys hold question and answers: the layouts that question-answering data comes in, told apart by their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_agentrl.data.fields import checked, fields, identity, metadata, text, value

LayoutName = Literal["auto", "flashrag", "musique", "2wiki", "hotpotqa", "bamboogle", "verl", "plain"]
Raw = Mapping[str, Any]


@dataclass(frozen=True)
class QuestionRow:
    """A question, its accepted answers, and what else is known of it, such as hops and type."""

    id: str
    question: str
    answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Known(NamedTuple):
    """What a row says."""

    question: str
    answers: Sequence[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """Keys that a row of this layout has, and how to read it."""

    keys: tuple[str, ...]
    read: Callable[[Raw], Known]


def flashrag(row: Raw) -> Known:
    """FlashRAG and Search-R1: golden_answers is a list; metadata may be missing."""
    answers = value(row, "golden_answers")
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"golden_answers must be a list of one or more texts, got {answers!r}")
    return Known(text(row, "question"), _answers(answers), metadata(row))


def musique(row: Raw) -> Known:
    """MuSiQue: one answer and its aliases; a hop per part of the decomposition."""
    if not row.get("answerable", True):
        raise ValueError("the question is marked as not answerable")
    aliases = row.get("answer_aliases") or []
    return Known(
        text(row, "question"),
        _answers([value(row, "answer"), *aliases]),
        _hops(value(row, "question_decomposition")),
    )


def supported(row: Raw) -> Known:
    """HotpotQA and 2WikiMultihopQA: one answer; a hop per title among the supporting facts."""
    facts = row.get("supporting_facts") or []
    titles = facts.get("title", []) if isinstance(facts, dict) else [fact[0] for fact in facts if fact]
    about = {key: row[key] for key in ("type", "level") if row.get(key)}
    return Known(text(row, "question"), _answers(value(row, "answer")), {**_hops(set(titles)), **about})


def bamboogle(row: Raw) -> Known:
    """Bamboogle as it was published: capital initials, one answer."""
    return Known(text(row, "Question"), _answers(value(row, "Answer")), {})


def verl(row: Raw) -> Known:
    """Rows made for verl: the question is what the user says last, the answers are the rule's ground truth."""
    said = [message for message in value(row, "prompt") if message.get("role") == "user"]
    rule = value(row, "reward_model")
    if not said or not isinstance(rule, dict):
        raise ValueError("prompt must hold a message of the user, and reward_model an object")
    truth = value(rule, "ground_truth")
    answers = value(truth, "target") if isinstance(truth, dict) else truth
    about = {"data_source": row["data_source"]} if row.get("data_source") else {}
    return Known(text(said[-1], "content"), _answers(answers), about)


def plain(row: Raw) -> Known:
    """NQ-open, TriviaQA and the like: `answer` or `answers`, a text, a list, or an object with value and aliases."""
    key = "answers" if "answers" in row else "answer"
    found = value(row, key)
    if isinstance(found, dict):
        found = [*([found["value"]] if "value" in found else []), *(found.get("aliases") or found.get("text") or [])]
    about = row.get("metadata")
    return Known(text(row, "question"), _answers(found), about if isinstance(about, dict) else {})


LAYOUTS: Mapping[str, Layout] = {  # the more telling ones first
    "flashrag": Layout(("question", "golden_answers"), flashrag),
    "musique": Layout(("question", "answer", "question_decomposition"), musique),
    "2wiki": Layout(("question", "answer", "supporting_facts", "evidences"), supported),
    "hotpotqa": Layout(("question", "answer", "supporting_facts"), supported),
    "bamboogle": Layout(("Question", "Answer"), bamboogle),
    "verl": Layout(("prompt", "reward_model"), verl),
    "plain": Layout(("question", "answer or answers"), plain),
}


def detected(path: Path, rows: Iterable[Any], name: LayoutName = "auto") -> Callable[[int, Any], QuestionRow]:
    """How to read the rows of a file, from its line number and the row.

    Args:
        path: the file, for messages.
        rows: its first rows.
        name: the layout, or auto.

    Raises:
        ValueError: no row has the keys of a known layout.
    """
    seen: dict[str, None] = {}
    layout = None if name == "auto" else LAYOUTS[name]
    for row in rows:
        if layout is None and isinstance(row, dict):
            layout = next((known for known in LAYOUTS.values() if _fits(row, known)), None)
            seen.update(dict.fromkeys(map(str, row)))
    if layout is None and seen:
        known = "; ".join(f"{name} ({', '.join(layout.keys)})" for name, layout in LAYOUTS.items())
        raise ValueError(
            f"{path} is in no known layout: its rows have {', '.join(seen)}. The layouts and the keys that they need: "
            f"{known}. Rename the keys, or write rows of id, question and golden_answers."
        )
    read = (layout or LAYOUTS["flashrag"]).read
    return lambda line, row: _question(read, path, line, fields(row))


def _question(read: Callable[[Raw], Known], path: Path, line: int, row: Raw) -> QuestionRow:
    """A row read; without an id of its own it is known by file and line."""
    key = next((key for key in ("id", "_id", "question_id") if row.get(key) is not None), None)
    id = identity(row, key) if key else f"{path.name.split('.')[0]}-{line}"
    try:
        question, answers, metadata = read(row)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"a key holds something else than this layout has there ({error!r})") from error
    return QuestionRow(id, question, tuple(answers), metadata)


def _fits(row: Raw, layout: Layout) -> bool:
    return all(any(part in row for part in key.split(" or ")) for key in layout.keys)


def _answers(found: Any) -> list[str]:
    """A text or a number, or a list of them of which each counts once."""
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise ValueError("the list of answers is empty")
    written = [str(answer) if type(answer) in (int, float) else answer for answer in listed]
    return list(dict.fromkeys(checked(answer, "an answer") for answer in written))


def _hops(parts: Any) -> dict[str, Any]:
    return {"hops": len(parts)} if parts else {}
