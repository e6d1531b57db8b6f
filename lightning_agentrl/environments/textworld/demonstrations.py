"""Demonstrations of text games for a cold start: capable at every level, with one systematic flaw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from lightning_agentrl.environments.text_games import State, TextPrompt
from lightning_agentrl.environments.workers import Seat, WorkerPool

Play = Callable[[Sequence[str]], State]
"""The state of a game after some commands."""
HARMLESS = ("look", "inventory", "examine")
"""First words of commands that change nothing."""


@dataclass(frozen=True)
class TextDemonstrator:
    """Follows the walkthrough of a game, and is often too lazy to go on."""

    count: int = 4000
    """Number of demonstrations."""
    lazy: float = 0.65
    """Probability of only looking around after the first command, in [0, 1]: the systematic flaw that the outcome
    reward corrects."""
    noise: float = 0.05
    """Probability per turn of a command that changes nothing, in [0, 1]."""
    turns: int = 6
    """Greatest number of turns of a lazy demonstration."""

    def __post_init__(self) -> None:
        for name, value in (("lazy", self.lazy), ("noise", self.noise)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability in [0, 1], got {value}.")
        if min(self.count, self.turns) < 1:
            raise ValueError(f"count and turns must be at least 1, got {self}.")

    def commands(self, walkthrough: Sequence[str], play: Play, rng: Random) -> list[str]:
        """The commands of one demonstration; ``play`` is asked for what is admissible."""
        if rng.random() < self.lazy:
            return [*walkthrough[:1], *["look"] * (self.turns - 1)]
        result: list[str] = []
        for command in walkthrough:
            if rng.random() < self.noise:
                admissible = play(result)["commands"]
                result += rng.sample([each for each in admissible if each.startswith(HARMLESS)], 1)
            result.append(command)
        return result


def text_demonstrations(
    games: Sequence[Mapping[str, Any]], demonstrator: TextDemonstrator, prompt: TextPrompt, pool: WorkerPool
) -> Iterator[dict[str, Any]]:
    """Rows of ``messages``, games taking turns.

    Args:
        games: with their ``walkthrough``.
        demonstrator: who plays.
        prompt: how states are put to the policy.
        pool: of players.
    """
    rng = Random("text demonstrations")
    plays = [_remembered(pool.open(game["file"])) for game in games]
    for number in range(demonstrator.count):
        game, play = games[number % len(games)], plays[number % len(games)]
        messages = [*prompt.messages(play([]))]
        commands = demonstrator.commands(game["walkthrough"], play, rng)
        for place, command in enumerate(commands, 1):
            messages.append({"role": "assistant", "content": f"<action>{command}</action>"})
            if place < len(commands):
                messages.append({"role": "user", "content": prompt.answer(play(commands[:place]))})
        yield {"id": f"demonstration-{number}", "messages": messages, "metadata": {"level": game["level"]}}


def _remembered(seat: Seat) -> Play:
    """Plays a game; many demonstrations of it begin alike."""
    known: dict[tuple[str, ...], State] = {}

    def play(commands: Sequence[str]) -> State:
        key = tuple(commands)
        if key not in known:
            known[key] = seat.submit("play", key).result()
        return known[key]

    return play
