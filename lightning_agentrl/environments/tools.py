"""The shipped episode for stateless tools: runs calls side by side and turns every failure into readable text."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.tools.arguments import argument_error
from lightning_agentrl.tools.base import Tool, ToolResult
from lightning_agentrl.types import Action, ParsedCall, Reward, ToolCall, Trajectory

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
INVALID_CALL = frozenset({"malformed_call", "unknown_tool", "bad_arguments"})
"""Kinds of failure that are the policy's own."""


@dataclass(frozen=True)
class ToolLimits:
    """What a call may cost."""

    timeout: float = 30.0
    """Seconds per call; a slower tool is cut off and the policy reads that it timed out."""
    max_characters: int = 4000
    """Greatest length of one result, in characters; the rest is cut off."""
    max_calls: int = 8
    """Greatest number of calls in one turn; further ones are not run."""

    def __post_init__(self) -> None:
        if min(self.timeout, self.max_characters, self.max_calls) <= 0:
            raise ValueError(f"Limits of tools must be positive, got {self}.")


class ToolEpisode(Episode):
    """Calls tools until the policy speaks without calling one; that turn's ``<answer>`` is judged."""

    def __init__(
        self,
        tools: Sequence[Tool],
        judge: Callable[[str | None], Reward],
        *,
        limits: ToolLimits | None = None,
        turn_reward: Callable[[Sequence[ToolResult]], float] = lambda results: 0.0,
        invalid_call_penalty: float = 0.0,
    ) -> None:
        """Start an episode.

        Args:
            tools: stateless tools, shared with other episodes.
            judge: verdict on an answer; gets None when the episode ended without one.
            limits: what a call may cost.
            turn_reward: process reward of a turn, from the results of its calls.
            invalid_call_penalty: penalty of a turn with a malformed call, an unknown tool or wrong arguments.
        """
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._judge = judge
        self._limits = limits or ToolLimits()
        self._turn_reward = turn_reward
        self._invalid_call_penalty = invalid_call_penalty
        self._answer: str | None = None

    async def step(self, action: Action) -> Observation:
        """Run the calls of a turn; a turn without any ends the episode."""
        if not action.calls:
            found = ANSWER.findall(action.text)
            self._answer = found[-1].strip() if found else None
            return Observation(done=True)
        results = await asyncio.gather(*(self._run(call) for call in action.calls[: self._limits.max_calls]))
        dropped = action.calls[self._limits.max_calls :]
        results += [_failure("too_many_calls", f"at most {self._limits.max_calls} calls in one turn")] * bool(dropped)
        texts = tuple(result.text for result in results)
        invalid = any(result.error_kind in INVALID_CALL for result in results)
        return Observation(
            results=texts,
            tool_calls=tuple(
                ToolCall(call.name, call.arguments, result.ok, result.error_kind, result.latency)
                for call, result in zip(action.calls, results, strict=False)
            ),
            reward=self._turn_reward(results),
            penalty=self._invalid_call_penalty if invalid else 0.0,
            state_key=state_key(texts),
        )

    async def reward(self, trajectory: Trajectory) -> Reward:
        """The judge's verdict; a trajectory that a limit cut has no answer."""
        return self._judge(None if trajectory.stop.truncated else self._answer)

    async def fork(self) -> Episode:
        """Another episode with the same tools: there is no other state to copy.

        Raises:
            Unforkable: for a subclass, which may well have some.
        """
        if type(self) is not ToolEpisode:
            raise Unforkable(f"{type(self).__name__} must say how it forks.")
        return ToolEpisode(
            list(self._tools.values()),
            self._judge,
            limits=self._limits,
            turn_reward=self._turn_reward,
            invalid_call_penalty=self._invalid_call_penalty,
        )

    async def _run(self, call: ParsedCall) -> ToolResult:
        """One call, whatever comes of it."""
        started = time.perf_counter()
        result = await self._attempt(call)
        text = _readable(result.text, self._limits.max_characters)
        return ToolResult(text, result.ok, result.error_kind, time.perf_counter() - started)

    async def _attempt(self, call: ParsedCall) -> ToolResult:
        if call.error is not None:
            return _failure("malformed_call", call.error)
        tool = self._tools.get(call.name)
        if tool is None:
            return _failure("unknown_tool", f"there is no tool {call.name!r}, only {', '.join(self._tools)}")
        problem = argument_error(tool.parameters, call.arguments)
        if problem is not None:
            return _failure("bad_arguments", problem)
        try:
            async with asyncio.timeout(self._limits.timeout) as deadline:
                value: Any = await tool(**call.arguments)
        except Exception as error:  # noqa: BLE001  the tool boundary: any failure becomes an observation
            if isinstance(error, TimeoutError) and deadline.expired():
                return _failure("timeout", f"{call.name} took longer than {self._limits.timeout:g} seconds")
            return _failure("exception", f"{call.name} failed with {type(error).__name__}: {error}")
        if isinstance(value, str):
            value = ToolResult(value)
        if not isinstance(value, ToolResult) or not isinstance(value.text, str):
            return _failure("bad_result", f"{call.name} returned {type(value).__name__} instead of text")
        return value


def state_key(texts: Sequence[str]) -> int:
    """A number in [0, 2^63) that is equal for equal texts, in every process."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _failure(kind: str, reason: str) -> ToolResult:
    return ToolResult(f"Error: {reason}.", ok=False, error_kind=kind)


def _readable(text: str, max_characters: int) -> str:
    """Text of bounded length that a tokenizer takes: half surrogate pairs become question marks."""
    if len(text) > max_characters:
        text = text[:max_characters] + " [cut off]"
    return text.encode("utf-8", errors="replace").decode("utf-8")
