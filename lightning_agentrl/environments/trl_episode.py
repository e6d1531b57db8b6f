"""One trajectory with an instance of its own of a class that was written for TRL."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules
from lightning_agentrl.environments.trl_rewards import TRLRewards
from lightning_agentrl.tools.base import InfrastructureError, Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.function import FunctionTool
from lightning_agentrl.tools.text import sound
from lightning_agentrl.tools.threads import in_thread
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Action, ParsedCall, Reward, Trajectory


class Instances:
    """Makes instances and keeps those that are free: TRL, too, makes one once and resets it often."""

    def __init__(self, factory: Callable[[], Any], timeout: float, closes: bool) -> None:
        """Make none yet.

        Args:
            factory: makes one.
            timeout: seconds that making, resetting or closing one may take.
            closes: whether a method named close is to be called at the end.
        """
        self._factory = factory
        self._timeout = timeout
        self._closes = closes
        self._free: list[Any] = []

    def make(self) -> Any:
        """A new one.

        Raises:
            ValueError: when the factory cannot be called without arguments, or fails.
        """
        try:
            return self._factory()
        except Exception as error:
            raise ValueError(
                f"factory must make an instance without arguments, got {type(error).__name__}: {error}"
            ) from error

    async def take(self) -> Any:
        """One that nobody uses."""
        return self._free.pop() if self._free else await self.within(self._factory, "The factory")

    def give_back(self, instance: Any) -> None:
        """Nobody uses it any more."""
        self._free.append(instance)

    def now(self, work: Callable[[Any], Any]) -> Any:
        """Do something with one that nobody uses, and block until it is done."""
        instance = self._free.pop() if self._free else self.make()
        value = work(instance)
        self.give_back(instance)
        return value

    async def within(self, work: Callable[[], Any], name: str) -> Any:
        """Await blocking work in a thread.

        Raises:
            InfrastructureError: when it fails or takes too long: no policy has a hand in it.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await in_thread(work)
        except Exception as error:
            reason = str(error) or f"it took longer than {self._timeout:g} seconds"
            raise InfrastructureError(f"{name} failed with {type(error).__name__}: {reason}") from error

    async def discard(self, instance: Any) -> None:
        """It is not to be used again, because something went wrong in it."""
        with contextlib.suppress(InfrastructureError):
            await self.within(lambda: self._end(instance), "Closing")

    def close(self) -> None:
        """Close and forget those that are free."""
        while self._free:
            self._end(self._free.pop())

    def _end(self, instance: Any) -> None:
        close = getattr(instance, "close", None)
        if self._closes and callable(close):
            close()


@dataclass(frozen=True)
class Kit:
    """What all trajectories with instances of a class share."""

    described: Mapping[str, Mapping[str, Any]]
    """Name and schema of each method that is a tool."""
    limits: ToolLimits
    instances: Instances
    rewards: TRLRewards
    rules: ToolRules
    copies: bool
    """Whether forks are deep copies."""

    def tools(
        self, instance: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda f: f
    ) -> list[Tool]:
        """The methods of one instance as tools."""
        return [FunctionTool(wrap(getattr(instance, name)), said, self.limits) for name, said in self.described.items()]


class InOrder(Toolbox):
    """Tools that share a state: one call at a time, in the order in which they were made."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._turn = asyncio.Lock()

    async def run(self, call: ParsedCall, group: Hashable = None) -> ToolResult:
        """What comes of a call, once the ones before are done."""
        async with self._turn:
            return await super().run(call, group)


class TRLEpisode(Episode):
    """Calls the methods of its instance until the policy speaks without calling one."""

    def __init__(self, kit: Kit, instance: Any) -> None:
        """Take over an instance that was reset."""
        self._kit = kit
        self._instance = instance
        self._running = 0
        """Calls whose thread has not come back, also where nobody waits for it any more."""
        self._reusable = True
        """Not so for a copy, or copies would pile up, nor where the machinery behind it failed."""
        self._calls = ToolEpisode(InOrder(kit.tools(instance, self._called)), self.reward, rules=kit.rules)

    async def step(self, action: Action) -> Observation:
        """Run the calls of a turn; a turn without any ends the episode."""
        return await self._calls.step(action)

    async def reward(self, trajectory: Trajectory) -> Reward:
        """What the instance and the reward functions say."""
        return await self._kit.rewards(trajectory, self._instance)

    async def fork(self) -> Episode:
        """A deep copy of the instance.

        Raises:
            Unforkable: where copies are not asked for, or it cannot be copied; then its calls are repeated.
        """
        if not self._kit.copies or self._running:
            return await super().fork()
        try:
            instance = await self._kit.instances.within(lambda: copy.deepcopy(self._instance), "Copying")
        except InfrastructureError as failure:
            raise Unforkable(f"{type(self._instance).__name__} cannot be copied: {failure}") from failure
        twin = TRLEpisode(self._kit, instance)
        twin._reusable = False
        return twin

    async def close(self) -> None:
        """Give the instance back, or close it; one in which a call still runs is left alone."""
        if self._reusable and not self._running:
            self._kit.instances.give_back(self._instance)
        elif not self._running:
            await self._kit.instances.discard(self._instance)

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method as the function of a tool: in a thread unless it is async, with a result in words."""

        def blocking(arguments: Mapping[str, Any]) -> Any:
            try:
                return method(**arguments)
            finally:
                self._running -= 1

        async def call(**arguments: Any) -> str:
            if self._running:
                raise RuntimeError("an earlier call is still running")
            try:
                if inspect.iscoroutinefunction(method):
                    return spoken(await method(**arguments))
                self._running += 1
                return spoken(await in_thread(lambda: blocking(arguments)))
            except InfrastructureError:
                self._reusable = False
                raise

        return call


def reset(instance: Any, columns: Mapping[str, Any]) -> str | None:
    """Reset an instance with a row; what it says first.

    Raises:
        ValueError: when that is neither text nor None.
    """
    said = instance.reset(**columns)
    if isinstance(said, list) and all(isinstance(part, Mapping) and "text" in part for part in said):
        said = "".join(str(part["text"]) for part in said)
    if said is not None and not isinstance(said, str):
        raise ValueError(f"reset must return text or None, got {type(said).__name__}.")
    return None if said is None else sound(said)


def spoken(value: Any) -> str:
    """A method's result in words, as TRL has it: ``str`` of it, or the texts of a list of content blocks."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "type" in part for part in value):
        return "\n".join(str(part["text"]) if "text" in part else f"[{part['type']}]" for part in value)
    with contextlib.suppress(UnicodeDecodeError):
        if isinstance(value, bytes):
            return value.decode()
    return str(value)
