"""The contract of a tool, what a call of it may cost, and what comes of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_agentrl.types import InfrastructureError as InfrastructureError


@dataclass(frozen=True)
class ToolLimits:
    """What a call of a tool may cost."""

    timeout: float = 30.0
    """Seconds per call, without the wait for its turn; a slower one is cut off and reported to the policy as such."""
    max_characters: int = 4000
    """Greatest length of one result, in characters; the rest is cut off."""
    concurrency: int | None = None
    """Calls of all trajectories together that may run at the same time; null sets no bound."""
    retries: int = 2
    """How often a call is repeated, a little later each time, when the tool's own machinery failed."""
    cached: bool = False
    """Whether trajectories of one group that call it with equal arguments share one result; for tools that give equal
    results to equal arguments."""

    def __post_init__(self) -> None:
        least = 1 if self.concurrency is None else self.concurrency
        if min(self.timeout, self.max_characters, least) <= 0 or self.retries < 0:
            raise ValueError(f"Limits of a tool must be positive (retries at least 0), got {self}.")


@dataclass(frozen=True)
class ToolResult:
    """What a tool call came to. A failure is text that the policy can read, not an exception."""

    text: str
    ok: bool = True
    error_kind: str | None = None
    """Short machine-readable kind of failure: a `CallError`, ``timeout``, ``exception``, ``bad_result`` …"""
    truncated: bool = False
    """Whether the text was cut off."""
    latency: float = 0.0
    """Seconds that the call ran."""


class Tool(ABC):
    """Something with a name, a description, a JSON schema of its parameters, and an async call.

    Shared by all trajectories, so it keeps no state of theirs.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the policy calls it by."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What the policy is told about it."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments: ``{"type": "object", "properties": …, "required": […]}``."""

    @property
    def limits(self) -> ToolLimits:
        """What a call may cost, unless an environment says otherwise."""
        return ToolLimits()

    @abstractmethod
    async def __call__(self, **arguments: Any) -> Any:
        """Run it: text or a `ToolResult`; numbers, lists and objects are written as JSON.

        Raises:
            InfrastructureError: when its machinery failed. Any other exception becomes an observation of the policy
                with ``error_kind: exception``.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Release processes and connections; a later call may open them again."""


def schema(tool: Tool) -> dict[str, Any]:
    """The tool in the form that chat templates take (OpenAI function schema)."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
