"""Runs tool calls within their limits, and turns every failure of policy or tool into readable text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from lightning_agentrl.tools.arguments import argument_problem
from lightning_agentrl.tools.base import InfrastructureError, Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.text import bounded
from lightning_agentrl.types import CallError, ParsedCall

FIRST_WAIT = 0.1
"""Seconds before the first repetition of a call whose machinery failed; each further wait doubles."""


@dataclass
class _Shared:
    """Results that the trajectories of one group share, while any of them is open."""

    members: int = 0
    results: dict[str, asyncio.Task[ToolResult]] = field(default_factory=dict)


class Toolbox:
    """The tools of an environment, shared by all its episodes."""

    def __init__(self, tools: Sequence[Tool], limits: Mapping[str, ToolLimits] | None = None) -> None:
        """Check the tools.

        Args:
            tools: what a policy may call.
            limits: limits by tool name, instead of the tool's own.

        Raises:
            ValueError: two tools of one name, or limits of a tool that is not there.
        """
        self.tools = {tool.name: tool for tool in tools}
        if len(self.tools) < len(tools):
            names = [tool.name for tool in tools]
            raise ValueError(f"Tools need names of their own, got {', '.join(names)}.")
        unknown = set(limits or ()) - set(self.tools)
        if unknown:
            known = ", ".join(self.tools) or "none"
            raise ValueError(f"There are limits for tools that are not there: {', '.join(unknown)}; there are {known}.")
        self._limits = {name: (limits or {}).get(name, tool.limits) for name, tool in self.tools.items()}
        # By event loop: rollouts may get a new one, and a semaphore belongs to the loop that it was first awaited in.
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]] = WeakKeyDictionary()
        self._groups: dict[Hashable, _Shared] = {}

    def enter(self, group: Hashable) -> None:
        """Another trajectory of a group begins."""
        self._groups.setdefault(group, _Shared()).members += 1

    def leave(self, group: Hashable) -> None:
        """A trajectory of a group ends; what the group shared goes with its last one."""
        shared = self._groups[group]
        shared.members -= 1
        if not shared.members:
            for task in shared.results.values():
                if not task.done():
                    task.cancel()
            del self._groups[group]

    async def run(self, call: ParsedCall, group: Hashable = None) -> ToolResult:
        """What comes of a call.

        Args:
            call: as the policy wrote it.
            group: whom to share results of ``cached`` tools with; it must have been entered.

        Raises:
            InfrastructureError: when the tool's own machinery goes on failing.
        """
        if call.error is not None:
            return failure(call.error_kind or CallError.NOT_A_CALL, call.error)
        tool = self.tools.get(call.name)
        if tool is None:
            known = f"only {', '.join(self.tools)}" if self.tools else "nor any other"
            return failure(CallError.UNKNOWN_TOOL, f"there is no tool {call.name!r}, {known}")
        problem = argument_problem(tool.parameters, call.arguments)
        if problem is not None:
            return failure(problem.kind, problem.reason)
        shared = self._groups.get(group)
        if shared is None or not self._limits[call.name].cached:
            return await self._patiently(tool, call.arguments)
        key = json.dumps([call.name, call.arguments], sort_keys=True)
        task = shared.results.get(key)
        if task is None or (task.done() and _failed(task)):
            task = shared.results[key] = asyncio.ensure_future(self._patiently(tool, call.arguments))
        return await asyncio.shield(task)  # who gives up must not end it for the others

    def close(self) -> None:
        """Close the tools."""
        for tool in self.tools.values():
            tool.close()

    async def _patiently(self, tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
        """Repeat a call whose machinery failed."""
        for attempt in range(self._limits[tool.name].retries):
            try:
                return await self._in_turn(tool, arguments)
            except InfrastructureError:
                await asyncio.sleep(FIRST_WAIT * 2**attempt)
        return await self._in_turn(tool, arguments)

    async def _in_turn(self, tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
        limits = self._limits[tool.name]
        if limits.concurrency is None:
            return await _attempt(tool, arguments, limits)
        turns = self._turns.setdefault(asyncio.get_running_loop(), {})
        async with turns.setdefault(tool.name, asyncio.Semaphore(limits.concurrency)):
            return await _attempt(tool, arguments, limits)


def failure(kind: str, reason: str) -> ToolResult:
    """A result that tells the policy what went wrong."""
    return ToolResult(f"Error: {reason}.", ok=False, error_kind=kind)


async def _attempt(tool: Tool, arguments: Mapping[str, Any], limits: ToolLimits) -> ToolResult:
    started = time.perf_counter()
    result = await _outcome(tool, arguments, limits)
    text, cut = bounded(result.text, limits.max_characters)
    return replace(result, text=text, truncated=result.truncated or cut, latency=time.perf_counter() - started)


async def _outcome(tool: Tool, arguments: Mapping[str, Any], limits: ToolLimits) -> ToolResult:
    try:
        async with asyncio.timeout(limits.timeout) as deadline:
            value: Any = await tool(**arguments)
    except InfrastructureError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return failure("exception", f"{tool.name} was cancelled")  # by itself; nobody asked for it
    except Exception as error:  # noqa: BLE001  the tool boundary: any failure becomes an observation
        if isinstance(error, TimeoutError) and deadline.expired():
            return failure("timeout", f"{tool.name} took longer than {limits.timeout:g} seconds")
        return failure("exception", f"{tool.name} failed with {type(error).__name__}: {error}")
    if isinstance(value, ToolResult) and isinstance(value.text, str):
        return value
    if isinstance(value, str):
        return ToolResult(value)
    if isinstance(value, bool | int | float | list | tuple | dict):
        try:
            return ToolResult(json.dumps(value, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError):
            pass  # holds something that JSON does not know
    return failure("bad_result", f"{tool.name} returned {type(value).__name__} instead of text")


def _failed(task: asyncio.Task[ToolResult]) -> bool:
    """A failure is not shared: the next trajectory may have better luck."""
    return task.cancelled() or task.exception() is not None or not task.result().ok
