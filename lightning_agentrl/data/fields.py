"""Values of a raw row, checked: each error says what was expected and what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fields(row: Any) -> Mapping[str, Any]:
    """The row, which must be an object."""
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object, got {type(row).__name__}")
    return row


def value(row: Mapping[str, Any], key: str) -> Any:
    """What a key holds, whatever that is."""
    if key not in row:
        raise ValueError(f"{key} is missing; the row has {', '.join(map(str, row)) or 'nothing'}")
    return row[key]


def identity(row: Mapping[str, Any], key: str = "id") -> str:
    """An identity: a text or a whole number."""
    id = value(row, key)
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise ValueError(f"{key} must be a text or a whole number, got {id!r}")
    return str(id)


def metadata(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What else a row says of itself, under that key; nothing where it does not."""
    found = row.get("metadata") or {}
    if not isinstance(found, dict):
        raise ValueError(f"metadata must be an object, got {type(found).__name__}")
    return found


def text(row: Mapping[str, Any], key: str) -> str:
    """A text that is not blank."""
    return checked(value(row, key), key)


def checked(content: Any, what: str) -> str:
    """A text that is not blank, and that a tokenizer takes."""
    if not isinstance(content, str):
        raise ValueError(f"{what} must be a text, got {type(content).__name__}")
    if not content.strip():
        raise ValueError(f"{what} is empty")
    content.encode()  # half a surrogate pair is valid JSON, but no tokenizer takes it
    return content
