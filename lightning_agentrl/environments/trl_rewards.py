"""The verdict of a class that was written for TRL: what its ``get_reward`` says, and TRL-style reward functions."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.threads import in_thread
from lightning_agentrl.types import Reward, Trajectory, Turn


@dataclass(frozen=True)
class TRLRewards:
    """Sums what all sources say, with weights; a source that says None is left out."""

    functions: Sequence[Callable[..., Any]]
    weights: Sequence[float]
    owner: str | None
    """Name of the class, if it has a get_reward; what that says is logged under it, as in TRL."""
    timeout: float

    async def __call__(self, trajectory: Trajectory, instance: Any) -> Reward:
        """The verdict.

        Raises:
            InfrastructureError: when a source takes too long. Other errors of theirs are bugs and end the run.
        """
        parts: dict[str, float] = {}
        total, silent = 0.0, True
        if self.owner is not None:
            value = await self._within(instance.get_reward, {}, f"{self.owner}.get_reward")
            if value is not None:
                parts[self.owner] = total = float(value)
                silent = False
        for function, weight in zip(self.functions, self.weights, strict=True):
            name = getattr(function, "__name__", type(function).__name__)
            logged: dict[str, float] = {}
            values = await self._within(function, arguments(trajectory, instance, logged), name)
            if not isinstance(values, Sequence) or len(values) != 1:
                raise ValueError(
                    f"The reward function {name} was given one rollout and must return a list of one number."
                )
            parts |= logged
            if values[0] is not None:
                parts[name] = float(values[0])
                total += weight * parts[name]
                silent = False
        if silent:
            warnings.warn(f"No reward function had a number for task {trajectory.task.id!r}; it earns 0.", stacklevel=2)
        return Reward(total, total, parts)

    async def _within(self, function: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> Any:
        try:
            async with asyncio.timeout(self.timeout) as deadline:
                if inspect.iscoroutinefunction(function):
                    return await function(**arguments)
                return await in_thread(lambda: function(**arguments))
        except TimeoutError as error:
            if deadline.expired():
                raise InfrastructureError(f"{name} took longer than {self.timeout:g} seconds.") from error
            raise


def arguments(trajectory: Trajectory, instance: Any, logged: dict[str, float]) -> dict[str, Any]:
    """What TRL hands to a reward function, for a batch of this one rollout.

    There is no ``trainer_state`` here, so None is given. ``log_metric`` writes into ``logged``. ``log_extra``, for a
    table that TRL prints, does nothing.
    """
    columns = {name: [value] for name, value in trajectory.task.meta.items() if name not in ("prompt", "completion")}
    plain = isinstance(trajectory.task.meta.get("prompt"), str)
    said = [message for turn in trajectory.turns for message in _messages(turn)]
    behind = trajectory.token_ids[len(trajectory.prompt) :]
    return {
        **columns,
        "prompts": [trajectory.task.messages[-1]["content"] if plain else [dict(m) for m in trajectory.task.messages]],
        "completions": ["\n".join(turn.text for turn in trajectory.turns) if plain else said],
        "completion_ids": [behind],
        "environments": [instance],
        "trainer_state": None,
        "log_metric": lambda name, value: logged.__setitem__(name, float(value)),
        "log_extra": lambda column, values: None,
    }


def _messages(turn: Turn) -> list[dict[str, Any]]:
    """A turn as chat messages: what the policy wrote, its calls, and their results."""
    said: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.tool_calls:
        said["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in turn.tool_calls
        ]
    names = [call.name for call in turn.tool_calls] + [""] * len(turn.results)
    results = [{"role": "tool", "name": name, "content": text} for name, text in zip(names, turn.results, strict=False)]
    return [said, *results]
