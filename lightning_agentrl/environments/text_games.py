"""What TextWorld and ALFWorld share: how a game is put to the policy, and the episode that plays one in a worker."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.environments.text_actions import TextActions
from lightning_agentrl.environments.tools import state_key
from lightning_agentrl.environments.workers import Seat, WorkerPool
from lightning_agentrl.types import Action, Reward, Trajectory, Turn

State = Mapping[str, Any]
"""Of a game, as `text_player` describes it."""
PLACES = re.compile(r"\{(objective|observation|commands)\}")

FIRST = """\
You are playing a text game.
{objective}

{observation}

Possible commands: {commands}

Think inside <think></think>, then give one of the commands inside <action></action>."""
LATER = "{observation}\n\nPossible commands: {commands}"


@dataclass(frozen=True)
class TextPrompt:
    """How a state of a game becomes a message; {objective}, {observation} and {commands} are filled in."""

    first: str = FIRST
    """Message that a game begins with."""
    later: str = LATER
    """Message after each command. Earlier messages stay in the context, so nothing has to be said twice."""
    system: str | None = None
    """System message before the first one; none by default."""
    detail: Literal["full", "first_line"] = "full"
    """All that the game says, or its first line: the name of a room, or what an action did. A tiny policy has no use
    for descriptions."""
    separator: str = ", "
    """Between commands."""

    def __post_init__(self) -> None:
        for name, template in (("first", self.first), ("later", self.later)):
            if "{observation}" not in template:
                raise ValueError(f"prompt.{name} must show the {{observation}}, got {template!r}.")

    def messages(self, state: State) -> tuple[dict[str, str], ...]:
        """What a game begins with."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return (*system, {"role": "user", "content": self._fill(self.first, state)})

    def answer(self, state: State) -> str:
        """What follows a command."""
        return self._fill(self.later, state)

    def _fill(self, template: str, state: State) -> str:
        values = {
            "objective": " ".join(state["objective"].split()),
            "observation": self._observation(state["text"]),
            "commands": self.separator.join(state["commands"]),
        }
        return PLACES.sub(lambda place: values[place[1]], template)

    def _observation(self, text: str) -> str:
        lines = [" ".join(line.split()) for line in text.splitlines()]
        lines = [line for line in lines if line]
        return "\n".join(lines[:1] if self.detail == "first_line" else lines)


@dataclass(frozen=True)
class TextRules:
    """What a turn and a game are worth."""

    actions: TextActions = field(default_factory=TextActions)
    """Reads a command from what the policy said."""
    invalid_action_penalty: float = 0.1
    """Penalty of a turn without a well-formed action."""
    turn_reward: float = 0.0
    """What a turn earns that scores all points of the game; a part of them earns a part."""
    outcome: Literal["won", "score"] = "won"
    """1 for a game that was won, else 0; or the share of points that were scored."""
    reward_scale: float = 1.0
    """The shaped reward is so many outcomes."""

    def __post_init__(self) -> None:
        if self.invalid_action_penalty < 0 or self.reward_scale <= 0:
            raise ValueError(f"invalid_action_penalty must be at least 0 and reward_scale positive, got {self}.")


@dataclass(frozen=True)
class Stage:
    """Where episodes are opened: workers with players, and what is made of their states."""

    pool: WorkerPool
    prompt: TextPrompt
    rules: TextRules

    async def open(self, file: str, seed: int, commands: Sequence[str] = ()) -> TextEpisode:
        """An episode of a game in which these commands were given."""
        seat = self.pool.open(file, seed)
        try:
            state = await seat.call("play", list(commands))
        except BaseException:
            seat.close()
            raise
        return TextEpisode(self, seat, file, seed, commands, state)

    async def resume(self, file: str, seed: int, turns: Sequence[Turn]) -> TextEpisode:
        """An episode in the state that these turns led to.

        Raises:
            Unforkable: when the game answers otherwise than it did.
        """
        episode = await self.open(file, seed, [self.rules.actions(turn.text).command for turn in turns])
        heard = turns[-1].results if turns else ()
        if heard and heard != (self.prompt.answer(episode.state),):
            await episode.close()
            raise Unforkable(f"{file} has chance in it: replaying its commands gave another answer than {heard[0]!r}.")
        return episode


class TextEpisode(Episode):
    """One game: a turn is one command.

    The context grows by one message a turn. verl-agent writes a new prompt with the last two turns instead; here tokens
    are made once and never re-made, so that what is trained on is what was sampled.
    """

    def __init__(self, stage: Stage, seat: Seat, file: str, seed: int, commands: Sequence[str], state: State) -> None:
        self.state = state
        self._stage = stage
        self._seat = seat
        self._file = file
        self._seed = seed
        self._commands = [*commands]

    async def step(self, action: Action) -> Observation:
        """Give the command of a turn."""
        rules = self._stage.rules
        said = rules.actions(action.text)
        state = await self._seat.call("step", said.command)
        gained = (state["score"] - self.state["score"]) / state["max_score"]
        self._commands.append(said.command)
        self.state = state
        over = state["won"] or state["lost"]
        return Observation(
            message=None if over else self._stage.prompt.answer(state),
            done=over,
            reward=rules.turn_reward * gained,
            penalty=0.0 if said.valid else rules.invalid_action_penalty,
            # The raw text, without objective and commands: the anchor of GiGPO's release.
            state_key=state_key((state["text"],)),
        )

    async def reward(self, trajectory: Trajectory) -> Reward:
        """Won or not, or the share of points."""
        rules, state = self._stage.rules, self.state
        parts = {"won": float(state["won"]), "score": state["score"] / state["max_score"]}
        return Reward(
            parts[rules.outcome], rules.reward_scale * parts[rules.outcome], {**parts, "lost": float(state["lost"])}
        )

    async def fork(self) -> Episode:
        """The same commands in another seat: quicker than TextWorld's own copy, and right for every game.

        Raises:
            Unforkable: when the copy is in another state.
        """
        copy = await self._stage.open(self._file, self._seed, self._commands)
        if copy.state != self.state:
            await copy.close()
            raise Unforkable(f"{self._file} has chance in it: replaying its commands led to another state.")
        return copy

    async def close(self) -> None:
        """Leave the seat."""
        self._seat.close()
