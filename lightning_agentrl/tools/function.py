"""Makes a tool of a documented Python function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers.utils.chat_template_utils import get_json_schema


@dataclass(frozen=True)
class FunctionTool:
    """A function with the JSON schema that its signature and docstring stand for."""

    function: Callable[..., Any]
    name: str
    description: str
    parameters: Mapping[str, Any]

    async def __call__(self, **arguments: Any) -> Any:
        """Await the function; one that is not async runs in a thread, so that it cannot hold up other trajectories."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**arguments)
        return await asyncio.to_thread(self.function, **arguments)


def tool(function: Callable[..., Any]) -> FunctionTool:
    """Decorate a function as a tool.

    Arguments need type hints and a line each under ``Args:`` of a Google docstring; the docstring's first lines become
    the description.
    """
    described: Mapping[str, Any] = get_json_schema(function)["function"]
    return FunctionTool(function, described["name"], described["description"], described["parameters"])
