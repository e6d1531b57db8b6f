"""Checks of call arguments."""

from typing import Any

import pytest

from lightning_agentrl.tools.arguments import argument_error

SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": ["number", "null"]},
        "order": {"enum": ["up", "down"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "deep": {"type": "boolean"},
        "anything": {},
    },
    "required": ["query"],
}


@pytest.mark.parametrize(
    "more",
    [{}, {"count": 3}, {"count": 3.0}, {"share": None}, {"share": 2}, {"order": "up"}, {"tags": ["a"]}, {"deep": True},
     {"anything": [1]}],
)  # fmt: skip
def test_good_arguments_pass(more: dict[str, Any]) -> None:
    assert argument_error(SCHEMA, {"query": "x", **more}) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "missing argument 'query'"),
        ({"query": "x", "limit": 3}, "unexpected argument 'limit'; the tool takes 'query', 'count'"),
        ({"query": 3}, "argument 'query' must be of type string, got int"),
        ({"query": None}, "argument 'query' must be of type string, got NoneType"),
        ({"query": "x", "count": True}, "argument 'count' must be of type integer, got bool"),
        ({"query": "x", "count": 2.5}, "argument 'count' must be of type integer, got float"),
        ({"query": "x", "share": "much"}, "argument 'share' must be of type number or null, got str"),
        ({"query": "x", "order": "left"}, "argument 'order' must be one of ['up', 'down'], got 'left'"),
        ({"query": "x", "tags": ["a", 1]}, "argument 'tags' has an item that must be of type string, got int"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], problem: str) -> None:
    assert str(argument_error(SCHEMA, arguments)).startswith(problem)


def test_a_schema_may_allow_further_arguments() -> None:
    assert argument_error({"properties": {}, "additionalProperties": True}, {"more": 1}) is None
