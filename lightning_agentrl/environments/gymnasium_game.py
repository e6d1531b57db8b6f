"""One game with gymnasium's interface: how its text is read and written, and the episode that plays it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.environments.tools import state_key
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.text import bounded, sound
from lightning_agentrl.tools.threads import in_thread
from lightning_agentrl.types import Action, CallError, Reward, ToolCall, Trajectory

COLOURED = re.compile(r"\x1b\[[0-9;]*m(.*?)\x1b\[0?m", re.DOTALL)
"""Text between the escape codes of a terminal; how rendered games mark where the player is."""
MOVE = "act"
"""Name under which a game's actions are counted among tool calls."""


class TooSlow(InfrastructureError):
    """A game needed more time than it is given; whatever it does, it may still be doing that."""


class Game(Protocol):
    """What is used of gymnasium's interface."""

    def reset(self, *, seed: int) -> tuple[Any, Mapping[str, Any]]:
        """Begin; the seed settles all chance. Observation and info."""

    def step(self, action: Any, /) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
        """Observation, reward, terminated, truncated and info."""

    def render(self) -> Any:
        """The state as text, in the render mode ansi."""

    def close(self) -> None:
        """Release what the game holds."""


@dataclass(frozen=True)
class Rules:
    """What an episode makes of a game."""

    success_at: float | None
    turn_rewards: bool
    penalty: float
    copies: bool
    timeout: float


@dataclass(frozen=True)
class Reading:
    """Between the policy's words and the game's."""

    actions: tuple[str, ...]
    tag: str | None
    renders: bool
    describe: Callable[[Any, Mapping[str, Any]], str] | None
    max_characters: int

    def action(self, text: str) -> str | None:
        """What a turn says to do; None without the tag that was asked for. Thoughts are left out."""
        spoken = text.rpartition("</think>")[2]
        if self.tag is None:
            return spoken.strip()
        found = re.findall(f"<{self.tag}>(.*?)</{self.tag}>", spoken, re.DOTALL)
        return str(found[-1]).strip() if found else None

    def move(self, said: str) -> Any:
        """What the game is to be told; None for something that it does not know."""
        if not self.actions:
            return said
        names = [name.casefold() for name in self.actions]
        return names.index(said.casefold()) if said.casefold() in names else None

    def text(self, game: Game, observation: Any, info: Mapping[str, Any]) -> str:
        """What the policy sees of a state.

        Raises:
            ValueError: when that is no text.
        """
        if self.renders:
            shown = game.render()
        else:
            shown = observation if self.describe is None else self.describe(observation, info)
        if isinstance(shown, bytes):
            shown = shown.decode(errors="replace")
        if not isinstance(shown, str):
            source = "render()" if self.renders else "describe" if self.describe else "the observation"
            raise ValueError(
                f"The policy reads text, and {source} is of type {type(shown).__name__}. Set describe to a function "
                f"that puts observations into words, or show: render with render_mode: ansi in options."
            )
        return bounded(COLOURED.sub(r"[\1]", shown).strip("\n"), self.max_characters)[0]


class GameEpisode(Episode):
    """Hands on what the policy says until the game is over."""

    def __init__(self, game: Game, first: str, reading: Reading, rules: Rules) -> None:
        """Take over a game that was reset and shows ``first``."""
        self._game = game
        self._shown = first
        self._reading = reading
        self._rules = rules
        self._sum = 0.0
        self._steps = self._invalid = 0
        self._cut = False
        self._stuck = False
        """Whether a step is still running that nobody waits for; the game is then left alone."""

    async def step(self, action: Action) -> Observation:
        """Play the action that the turn names; a turn that names none is told so and changes nothing."""
        said = self._reading.action(action.text)
        move = None if said is None else self._reading.move(said)
        if move is None:
            return self._not_an_action(said)
        before = time.perf_counter()
        try:
            text, reward, terminated, truncated = await self._in_time(lambda: self._play(move))
        except InfrastructureError as failure:
            if self._reading.actions or self._stuck:
                raise
            # Words of the policy brought it about: like any tool's failure, that is an observation.
            self._invalid += 1
            call = ToolCall(MOVE, {"action": said}, False, "exception", time.perf_counter() - before)
            return self._told(f"Error: {failure.__cause__}", call, self._rules.penalty)
        self._shown = text
        self._sum += reward
        self._steps += 1
        self._cut = truncated and not terminated
        return Observation(
            message=None if terminated or truncated else text,
            done=terminated or truncated,
            tool_calls=(ToolCall(MOVE, {"action": said}, latency=time.perf_counter() - before),),
            reward=reward if self._rules.turn_rewards else 0.0,
            state_key=state_key((text,)),
        )

    async def reward(self, trajectory: Trajectory) -> Reward:
        """The sum of the game's rewards, or whether it was enough."""
        enough = self._rules.success_at
        outcome = self._sum if enough is None else float(self._sum >= enough)
        components = {
            "return": self._sum,
            "steps": float(self._steps),
            "invalid_actions": float(self._invalid),
            "cut_by_game": float(self._cut),
        }
        return Reward(outcome, outcome, components)

    async def fork(self) -> Episode:
        """A deep copy, generator of chance included.

        Raises:
            Unforkable: where copies are not asked for, or the game cannot be copied; then its actions are played again.
        """
        if not self._rules.copies:
            return await super().fork()
        try:
            game = await self._in_time(lambda: copy.deepcopy(self._game))
        except InfrastructureError as failure:
            raise Unforkable(f"The game cannot be copied: {failure}") from failure
        twin = GameEpisode(game, self._shown, self._reading, self._rules)
        twin._sum, twin._steps, twin._invalid = self._sum, self._steps, self._invalid
        return twin

    async def close(self) -> None:
        """Close the game, unless it hangs."""
        if not self._stuck:
            with contextlib.suppress(InfrastructureError):  # the verdict is in, and nobody plays on
                await self._in_time(self._game.close)

    def _play(self, move: Any) -> tuple[str, float, bool, bool]:
        observation, reward, terminated, truncated, info = self._game.step(move)
        return self._reading.text(self._game, observation, info), float(reward), bool(terminated), bool(truncated)

    async def _in_time(self, work: Callable[[], Any]) -> Any:
        try:
            return await in_time(work, self._rules)
        except InfrastructureError as failure:
            self._stuck = self._stuck or isinstance(failure, TooSlow)
            raise

    def _not_an_action(self, said: str | None) -> Observation:
        self._invalid += 1
        wrong = f"{said[:100]!r} is not an action" if said is not None else f"expected <{self._reading.tag}>…"
        choices = f"; choose one of {', '.join(self._reading.actions)}" if self._reading.actions else ""
        call = ToolCall(MOVE, {"action": said}, False, CallError.WRONG_TYPE if said else CallError.NOT_A_CALL)
        return self._told(f"Error: {wrong}{choices}.", call, self._rules.penalty)

    def _told(self, reason: str, call: ToolCall, penalty: float) -> Observation:
        """An error with the state that it left as it was, which the key of the state says too."""
        text = sound(reason)[: self._reading.max_characters]
        key = state_key((self._shown,))
        return Observation(message=f"{text}\n{self._shown}", tool_calls=(call,), penalty=penalty, state_key=key)


async def in_time(work: Callable[[], Any], rules: Rules) -> Any:
    """Await blocking work of a game in a thread.

    Raises:
        InfrastructureError: when it fails or takes too long, with the reason as its cause.
    """
    try:
        async with asyncio.timeout(rules.timeout) as deadline:
            return await in_thread(work)
    except Exception as error:
        if isinstance(error, TimeoutError) and deadline.expired():
            raise TooSlow(f"The game took longer than {rules.timeout:g} seconds.") from error
        raise InfrastructureError(f"The game failed with {type(error).__name__}: {error}") from error
