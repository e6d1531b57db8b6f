"""Where several tools come from at once, such as a server, and how an environment takes them among single ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.function import FunctionTool, describe
from lightning_agentrl.tools.import_path import imported


class ToolSource(ABC):
    """Gives tools; an environment that takes a `ToolSource` has all of them.

    Closing any of its tools closes the source, so whoever closes tools (`Toolbox.close`) need not know about sources.
    """

    @abstractmethod
    def tools(self) -> Sequence[Tool]:
        """The tools, found out on the first call and equal on every further one.

        Raises:
            ValueError: when there are none to be had, with the reason.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Release processes and connections; a later call of a tool may open them again."""


@dataclass(frozen=True)
class FunctionTools(ToolSource):
    """Documented Python functions, named in a configuration."""

    functions: Sequence[str]
    """Import paths of functions with type hints and a Google docstring, decorated with ``@tool`` or not."""
    limits: ToolLimits | None = None
    """What a call of each may cost; null leaves it to the decorator."""

    def tools(self) -> Sequence[Tool]:
        """One per function.

        Raises:
            ValueError: where a function is not there, or a policy could not be told how to call it.
        """
        return self._tools

    @cached_property
    def _tools(self) -> tuple[Tool, ...]:
        return tuple(self._tool(imported(path, "functions")) for path in self.functions)

    def _tool(self, named: FunctionTool | Callable[..., Any]) -> Tool:
        if isinstance(named, FunctionTool):
            return FunctionTool(named.function, named.described, self.limits or named.limits)
        return FunctionTool(named, describe(named), self.limits or ToolLimits())


def flatten(tools: Iterable[Tool | ToolSource]) -> list[Tool]:
    """Single tools, those of sources in their place."""
    return [tool for item in tools for tool in (item.tools() if isinstance(item, ToolSource) else (item,))]
