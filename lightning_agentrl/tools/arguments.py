"""Checks the arguments of a call against a tool's JSON schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lightning_agentrl.types import CallError

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class Problem(NamedTuple):
    """What is wrong with the arguments of a call."""

    kind: CallError
    reason: str
    """In words that a policy can act on."""


def argument_problem(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> Problem | None:
    """The first thing that is wrong with the arguments; None if nothing is.

    Knows ``required``, ``type`` (one or several), ``enum``, ``items``, and ``anyOf`` of these. An argument that the
    schema does not name is an error unless ``additionalProperties`` is set: the tool could not take it.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in arguments]
    if missing:
        return Problem(CallError.MISSING_ARGUMENT, f"missing argument {_names(missing)}")
    extra = [name for name in arguments if name not in properties]
    if extra and not schema.get("additionalProperties"):
        takes = _names(properties) or "none"
        return Problem(CallError.EXTRA_ARGUMENT, f"unexpected argument {_names(extra)}; the tool takes {takes}")
    for name, value in arguments.items():
        reason = _value_error(properties.get(name, {}), value)
        if reason:
            return Problem(CallError.WRONG_TYPE, f"argument {name!r} {reason}")
    return None


def _value_error(schema: Mapping[str, Any], value: Any) -> str | None:
    if "anyOf" in schema:
        reasons = [_value_error(choice, value) for choice in schema["anyOf"]]
        return None if None in reasons else " or ".join(dict.fromkeys(filter(None, reasons)))
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if schema.get("nullable"):  # how the schemas of optional Python arguments say it
        allowed = [*allowed, "null"]
    if allowed and not any(_is(value, name) for name in allowed):
        return f"must be of type {' or '.join(allowed)}, got {type(value).__name__}"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {schema['enum']}, got {value!r}"
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        problems = (_value_error(schema["items"], item) for item in value)
        return next((f"has an item that {problem}" for problem in problems if problem), None)
    return None


def _is(value: Any, name: str) -> bool:
    """Whether a value has a JSON type; true and false are no numbers, and 3.0 is a whole one."""
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES.get(name, (object,)))


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
