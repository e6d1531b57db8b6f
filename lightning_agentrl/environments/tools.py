"""The shipped episode for stateless tools: runs the calls of a turn side by side until the policy answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass

from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.tools.base import ToolResult
from lightning_agentrl.tools.toolbox import Toolbox, failure
from lightning_agentrl.types import Action, CallError, Reward, ToolCall, Trajectory

INVALID_CALL = frozenset(CallError)
"""Kinds of failure that are the policy's own."""
Judge = Callable[[Trajectory], Awaitable[Reward]]
"""A verdict on a finished trajectory, such as `Rewards`."""


@dataclass(frozen=True)
class ToolRules:
    """What an episode makes of a turn."""

    turn_reward: Callable[[Sequence[ToolResult]], float] = lambda results: 0.0
    """Process reward of a turn, from the results of its calls."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a call that is the policy's own mistake; at least 0."""
    max_calls: int = 8
    """Greatest number of calls in one turn; further ones are not run."""

    def __post_init__(self) -> None:
        if self.invalid_call_penalty < 0 or self.max_calls < 1:
            raise ValueError(f"invalid_call_penalty must be at least 0 and max_calls at least 1, got {self}.")


class ToolEpisode(Episode):
    """Calls tools until the policy speaks without calling one; that turn's answer is judged."""

    def __init__(
        self,
        toolbox: Toolbox,
        judge: Judge,
        *,
        group: Hashable = None,
        rules: ToolRules = ToolRules(),
    ) -> None:
        """Start an episode.

        Args:
            toolbox: stateless tools, shared with other episodes.
            judge: verdict on the trajectory.
            group: equal for the episodes that may share results of ``cached`` tools, such as the task with its seed;
                None shares none.
            rules: what is made of a turn.
        """
        self._toolbox = toolbox
        self._judge = judge
        self._group = group
        self._rules = rules
        if group is not None:
            toolbox.enter(group)

    async def step(self, action: Action) -> Observation:
        """Run the calls of a turn; a turn without any ends the episode.

        A turn that neither calls nor answers, but has a call where none counts, is told so.
        """
        calls, ignored = action.calls, action.ignored
        if not calls and action.answer is None:
            calls, ignored = ignored, ()
        run, dropped = calls[: self._rules.max_calls], calls[self._rules.max_calls :]
        results = await asyncio.gather(*(self._toolbox.run(call, self._group) for call in run))
        if dropped:
            reason = f"at most {self._rules.max_calls} calls in one turn; the rest were not run"
            results.append(failure(CallError.TOO_MANY_CALLS, reason))
        texts = tuple(result.text for result in results)
        made = [
            ToolCall(call.name, call.arguments, result.ok, result.error_kind, result.latency, result.truncated)
            for call, result in zip(calls, results, strict=False)
        ]
        made += [ToolCall(call.name, call.arguments, False, call.error_kind) for call in ignored]
        if not calls:
            return Observation(done=True, tool_calls=tuple(made))
        invalid = any(call.error_kind in INVALID_CALL for call in made)
        return Observation(
            results=texts,
            tool_calls=tuple(made),
            reward=self._rules.turn_reward(results),
            penalty=self._rules.invalid_call_penalty if invalid else 0.0,
            state_key=state_key(texts),
        )

    async def reward(self, trajectory: Trajectory) -> Reward:
        """The judge's verdict."""
        return await self._judge(trajectory)

    async def fork(self) -> Episode:
        """Another episode with the same tools: there is no other state to copy.

        Raises:
            Unforkable: for a subclass, which may well have some.
        """
        if type(self) is not ToolEpisode:
            raise Unforkable(f"{type(self).__name__} must say how it forks.")
        return ToolEpisode(self._toolbox, self._judge, group=self._group, rules=self._rules)

    async def close(self) -> None:
        """Let go of what the group shares."""
        if self._group is not None:
            self._toolbox.leave(self._group)


def state_key(texts: Sequence[str]) -> int:
    """A number in [0, 2^63) that is equal for equal texts, in every process."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
