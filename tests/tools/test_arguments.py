"""Checks of call arguments."""

from typing import Any

import pytest

from lightning_agentrl.tools.arguments import argument_problem
from lightning_agentrl.types import CallError

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
        "maybe": {"type": "string", "nullable": True},
        "either": {"anyOf": [{"type": "integer"}, {"enum": ["all"]}]},
    },
    "required": ["query"],
}


@pytest.mark.parametrize(
    "more",
    [{}, {"count": 3}, {"count": 3.0}, {"share": None}, {"share": 2}, {"order": "up"}, {"tags": ["a"]}, {"deep": True},
     {"anything": [1]}, {"maybe": None}, {"either": 3}, {"either": "all"}],
)  # fmt: skip
def test_good_arguments_pass(more: dict[str, Any]) -> None:
    assert argument_problem(SCHEMA, {"query": "x", **more}) is None


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
        (
            {"query": "x", "either": "no"},
            "argument 'either' must be of type integer, got str or must be one of",
        ),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], problem: str) -> None:
    found = argument_problem(SCHEMA, arguments)
    assert found is not None
    assert found.reason.startswith(problem)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, CallError.MISSING_ARGUMENT),
        ({"query": "x", "limit": 3}, CallError.EXTRA_ARGUMENT),
        ({"query": 3}, CallError.WRONG_TYPE),
        ({"query": "x", "order": "left"}, CallError.WRONG_TYPE),
    ],
)
def test_each_kind_of_mistake_has_a_name(arguments: dict[str, Any], kind: CallError) -> None:
    found = argument_problem(SCHEMA, arguments)
    assert found is not None
    assert found.kind is kind


def test_a_schema_may_allow_further_arguments() -> None:
    assert argument_problem({"properties": {}, "additionalProperties": True}, {"more": 1}) is None
