"""Checks the arguments of a call against a tool's JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def argument_error(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, in words that a policy can act on; None if nothing is.

    Knows ``required``, ``type`` (one or several), ``enum`` and ``items``. An argument that the schema does not name is
    an error unless ``additionalProperties`` is set: the tool could not take it.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in arguments]
    if missing:
        return f"missing argument {_names(missing)}"
    extra = [name for name in arguments if name not in properties]
    if extra and not schema.get("additionalProperties"):
        return f"unexpected argument {_names(extra)}; the tool takes {_names(properties) or 'none'}"
    for name, value in arguments.items():
        problem = _value_error(properties.get(name, {}), value)
        if problem:
            return f"argument {name!r} {problem}"
    return None


def _value_error(schema: Mapping[str, Any], value: Any) -> str | None:
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
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


def _names(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
