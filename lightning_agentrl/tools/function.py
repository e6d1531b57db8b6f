"""Makes a tool of a documented Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException, get_json_schema

from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.threads import in_thread


@dataclass(frozen=True)
class FunctionTool(Tool):
    """A function with the JSON schema that its signature and docstring stand for."""

    function: Callable[..., Any]
    described: Mapping[str, Any]
    limits: ToolLimits = ToolLimits()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        """The function's."""
        return str(self.described["name"])

    @property
    def description(self) -> str:
        """First lines of the docstring."""
        return str(self.described["description"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        parameters: Mapping[str, Any] = self.described["parameters"]
        return parameters

    async def __call__(self, **arguments: Any) -> Any:
        """Await the function; one that is not async runs in a thread, so that it cannot hold up other trajectories."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**arguments)
        return await in_thread(lambda: self.function(**arguments))


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(*, limits: ToolLimits) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None, /, *, limits: ToolLimits | None = None
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Decorate a function as a tool: ``@tool``, or ``@tool(limits=ToolLimits(timeout=5))``.

    Arguments need type hints and a line each under ``Args:`` of a Google docstring; the docstring's first lines become
    the description.

    Raises:
        ValueError: at once, naming the function and what its signature or docstring lacks.
    """
    if function is None:
        return lambda decorated: FunctionTool(decorated, describe(decorated), limits or ToolLimits())
    return FunctionTool(function, describe(function), limits or ToolLimits())


def describe(function: Callable[..., Any], name: str | None = None) -> Mapping[str, Any]:
    """Name, description and JSON schema of a function or bound method.

    Raises:
        ValueError: where the policy could not be told how to call it.
    """
    where = f"Tool {name or function.__name__!r}"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{where} takes {parameter}, but a call names each argument; spell the arguments out.")
    if not inspect.getdoc(function):
        raise ValueError(f"{where} has no docstring; the policy is told what it says.")
    try:
        described: dict[str, Any] = dict(get_json_schema(function)["function"])
    except TypeHintParsingException as error:
        raise ValueError(f"{where} needs type hints that JSON can carry: {error}") from error
    except DocstringParsingException as error:
        raise ValueError(f"{where} needs a line per argument under `Args:` of its docstring: {error}") from error
    described.pop("return", None)
    undescribed = [key for key, value in described["parameters"]["properties"].items() if not value.get("description")]
    if undescribed or not described["description"]:
        lacking = f"arguments {', '.join(undescribed)}" if undescribed else "itself"
        raise ValueError(f"{where} does not describe {lacking} in its docstring.")
    return described if name is None else {**described, "name": name}
