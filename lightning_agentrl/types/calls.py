"""What the policy said in a turn, the tool calls in it, and what came of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class CallError(enum.StrEnum):
    """What is wrong with a call: the policy's own mistakes, one name each."""

    BAD_JSON = "bad_json"
    """What stands between the tags is not JSON."""
    NOT_A_CALL = "not_a_call"
    """It is JSON, or another well-formed text, but not of the form of a call."""
    HALF_TAG = "half_tag"
    """An opening tag without its closing one, the other way round, or a tag that is not finished."""
    TWO_CALLS = "two_calls"
    """Two calls where the format has room for one."""
    IN_THOUGHT = "call_in_thought"
    """A call inside thinking; it is not run."""
    AFTER_END = "call_after_end"
    """A call behind the end of the turn or the answer; it is not run."""
    UNKNOWN_TOOL = "unknown_tool"
    """There is no tool of that name."""
    MISSING_ARGUMENT = "missing_argument"
    """A required argument is not there."""
    EXTRA_ARGUMENT = "extra_argument"
    """An argument that the tool does not take."""
    WRONG_TYPE = "wrong_type"
    """An argument of another JSON type than the schema's, or not one of its choices."""
    TOO_MANY_CALLS = "too_many_calls"
    """More calls in one turn than are run."""


@dataclass(frozen=True)
class ParsedCall:
    """A tool call as the policy wrote it. ``error`` says what was wrong; then name and arguments may be empty."""

    name: str
    arguments: Mapping[str, Any]
    error: str | None = None
    error_kind: CallError | None = None
    """Set if and only if ``error`` is."""


@dataclass(frozen=True)
class Action:
    """What the policy said in one turn, read from its tokens."""

    text: str
    """The turn with control tokens such as ``<tool_call>`` visible, without the end-of-turn token."""
    calls: tuple[ParsedCall, ...] = ()
    """What is to be run or, where a call carries an error, to be answered with it."""
    ignored: tuple[ParsedCall, ...] = ()
    """Calls where none counts: in thoughts, behind the end. Never run; each carries its error."""
    answer: str | None = None
    """The final answer, if the turn holds one."""


@dataclass(frozen=True)
class ToolCall:
    """What came of one call."""

    name: str
    arguments: Mapping[str, Any]
    ok: bool = True
    error_kind: str | None = None
    latency: float = 0.0
    """Seconds that the tool took."""
    truncated: bool = False
    """Whether its result was cut off."""
