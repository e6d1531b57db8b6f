"""Demonstrations for a cold start: chat messages in JSONL, one conversation per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Demonstration:
    """A conversation: the prompt, then what the policy says and what it is answered, turn by turn."""

    prompt: tuple[Mapping[str, str], ...]
    turns: tuple[tuple[str, tuple[str, ...] | str | None], ...]
    """Action text of each turn, and what answers it: tool results, or a message of the user; None after the last."""

    @property
    def texts(self) -> Iterator[str]:
        """Everything said, with the names of the roles as chat templates write them, for training a tokenizer."""
        for message in self.prompt:
            yield f"{message['role']}\n"
            yield message["content"]
        for action, answer in self.turns:
            yield "assistant\n"
            yield action
            yield from ("user\n", *((answer,) if isinstance(answer, str) else answer)) if answer else ()


def read_demonstrations(path: Path) -> list[Demonstration]:
    """All conversations of a file.

    Raises:
        ValueError: naming file and line of the first row that is not a conversation.
    """
    result = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                result.append(_parse(json.loads(line)["messages"]))
            except (ValueError, KeyError, TypeError) as problem:
                raise ValueError(
                    f"{path}:{number}: expected {{'messages': [user, assistant, tool or user, …, assistant]}}, got a "
                    f"row that fails with {type(problem).__name__}: {problem}."
                ) from problem
    if not result:
        raise ValueError(f"{path} holds no demonstrations.")
    return result


def _parse(messages: Sequence[Mapping[str, Any]]) -> Demonstration:
    first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), None)
    if first is None:
        raise ValueError("no assistant message")
    turns: list[tuple[str, tuple[str, ...] | str | None]] = []
    for message in messages[first:]:
        if message["role"] == "assistant":
            turns.append((message["content"], None))
        elif message["role"] == "tool":
            action, results = turns[-1]
            if isinstance(results, str):
                raise ValueError("a tool message after a user message")
            turns[-1] = (action, (*(results or ()), message["content"]))
        elif message["role"] == "user":
            action, results = turns[-1]
            if results is not None:
                raise ValueError("a user message after another answer to the same turn")
            turns[-1] = (action, message["content"])
        else:
            raise ValueError(f"role {message['role']!r} after the first assistant message")
    return Demonstration(tuple(messages[:first]), tuple(turns))
