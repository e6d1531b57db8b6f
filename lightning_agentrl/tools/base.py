"""The contract of a tool and of what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class ToolResult:
    """What a tool call came to. A failure is text that the policy can read, not an exception."""

    text: str
    ok: bool = True
    error_kind: str | None = None
    """Short machine-readable kind of failure: ``unknown_tool``, ``bad_arguments``, ``timeout``, ``exception`` …"""
    latency: float = 0.0
    """Seconds."""


@runtime_checkable
class Tool(Protocol):
    """Anything with a name, a description, a JSON schema of its parameters, and an async call."""

    @property
    def name(self) -> str:
        """What the policy calls it by."""

    @property
    def description(self) -> str:
        """What the policy is told about it."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments: ``{"type": "object", "properties": …, "required": […]}``."""

    async def __call__(self, **arguments: Any) -> str | ToolResult:
        """Run it; an exception becomes an observation with ``error_kind: exception``."""


def schema(tool: Tool) -> dict[str, Any]:
    """The tool in the form that chat templates take (OpenAI function schema)."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
