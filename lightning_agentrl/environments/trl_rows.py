"""Rows of a data set as TRL knows them: a prompt, text or messages, and any further columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Messages = tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class TRLRow:
    """A checked row."""

    id: str
    columns: Mapping[str, Any]
    """The whole row, as reset and reward functions get it."""
    messages: Messages

    @classmethod
    def of(cls, raw: Any, number: int = 0) -> TRLRow:
        """Check a raw row; without an id of its own it is known by its number.

        Raises:
            ValueError: for a row that cannot be used.
        """
        if not isinstance(raw, Mapping):
            raise ValueError(f"a row must be an object, got {type(raw).__name__}")
        # Without a prompt the class has to say everything; TRL leaves it an empty message to append to.
        prompt = raw.get("prompt", [{"role": "user", "content": ""}])
        return cls(str(raw.get("id", number)), raw, _messages(prompt))

    def answers(self, column: str | None) -> tuple[str, ...]:
        """The accepted answers: a text, or a list of them."""
        found = self.columns.get(column) if column is not None else None
        if found is None:
            return ()
        return tuple(map(str, found)) if isinstance(found, list | tuple) else (str(found),)


def with_observation(messages: Messages, said: str | None) -> Messages:
    """Messages with what reset said at the end of the last one."""
    if said is None:
        return messages
    return (*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + said})


def _messages(prompt: Any) -> Messages:
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Sequence) or not prompt:
        raise ValueError(f"prompt must be a text or a list of messages, got {type(prompt).__name__}")
    return tuple(_message(message) for message in prompt)


def _message(message: Any) -> Mapping[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError(f"a message must be an object with role and content, got {message!r}")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content):
        content = "".join(str(part["text"]) for part in content)
    if not isinstance(content, str):
        raise ValueError(f"the content of a message must be text, got {type(content).__name__}")
    content.encode()  # half a surrogate pair is valid JSON, but no tokenizer takes it
    return {"role": message["role"], "content": content}
