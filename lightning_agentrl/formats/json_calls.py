"""A tool call written as a JSON object with a name and arguments: what it says, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lightning_agentrl.types import CallError, ParsedCall

NAMED = '{"name": ..., "arguments": {...}}'
"""The form of a call."""
SEPARATORS = " \t\r\n,;"
"""What policies write between two calls."""


def read_call(body: str, expected: str) -> ParsedCall:
    """The call that a text is.

    Args:
        body: one JSON object, blanks around it allowed.
        expected: what the policy should have written; errors end with it.
    """
    text = body.strip()
    try:
        call, end = json.JSONDecoder(object_pairs_hook=_object).raw_decode(text)
        json.dumps(call, ensure_ascii=False, allow_nan=False).encode()  # neither NaN nor half a surrogate pair is JSON
    except (ValueError, RecursionError) as error:
        return malformed(CallError.BAD_JSON, f"not valid JSON ({error})", expected)
    rest = text[end:]
    another = _is_call(call) and rest.lstrip(SEPARATORS).startswith("{")
    if another or (isinstance(call, list) and len(call) > 1 and all(map(_is_call, call))):
        return malformed(CallError.TWO_CALLS, "two calls in one tag, none was run; write a tag for each", expected)
    if rest:
        return malformed(CallError.BAD_JSON, f"not valid JSON (more text behind the object: {rest[:20]!r})", expected)
    if not isinstance(call, dict):
        return malformed(CallError.NOT_A_CALL, f"the call is a {type(call).__name__}, not an object", expected)
    name, arguments = call.get("name"), call.get("arguments")
    if not isinstance(name, str) or not name:
        return malformed(CallError.NOT_A_CALL, 'the call has no "name" that is a string', expected)
    if not isinstance(arguments, dict):
        return malformed(CallError.NOT_A_CALL, 'the call has no "arguments" that are an object', expected, name)
    return ParsedCall(name, arguments)


def write_call(name: str, arguments: Mapping[str, Any]) -> str:
    """The JSON of a call, as chat templates write it."""
    return json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)


def malformed(kind: CallError, reason: str, expected: str, name: str = "") -> ParsedCall:
    """A call that is answered with an error: what is wrong, and what to write instead."""
    return ParsedCall(name, {}, f"{reason}; expected {expected}", kind)


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: to take the last of two would be to guess."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} comes twice in an object")
    return result
