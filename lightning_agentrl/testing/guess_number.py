"""A small text game with gymnasium's interface, and a script that plays it with one systematic flaw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any


class GuessNumber:
    """Find a number; each wrong guess is answered by higher or lower. Finding it earns 1.

    With 15 numbers and 4 guesses, halving what is left always wins, and counting up wins 4 times out of 15. It needs no
    base class: `lightning_agentrl.environments.gymnasium.GymnasiumGame` asks for the methods alone.
    """

    def __init__(self, highest: int = 15, guesses: int = 4) -> None:
        """Make a game of the numbers 1 to ``highest``."""
        self.highest = highest
        self.guesses = guesses
        self._number = self._left = 0

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        """Think of a number."""
        self._number = Random(seed).randint(1, self.highest)
        self._left = self.guesses
        return f"Guess my number, 1 to {self.highest}.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Answer a guess; one that is no number counts, too."""
        self._left -= 1
        found = action == str(self._number)
        if found or not action.isdecimal():
            text = "Yes." if found else "That is no number."
        else:
            text = "higher" if int(action) < self._number else "lower"
        return text, float(found), found, not found and self._left == 0, {}

    def render(self) -> str:
        """What is left to do."""
        return f"{self._left} guesses left"

    def close(self) -> None:
        """Nothing to release."""


def play(messages: Sequence[Mapping[str, str]], rng: Random, counting: float = 0.6) -> str:
    """The next guess: by halving, and with probability ``counting`` by counting up from 1 instead.

    A policy that learns from this does mostly what is done mostly, and that loses: the flaw that a reward corrects.
    """
    guesses = [int(message["content"]) for message in messages if message["role"] == "assistant"]
    if not guesses and rng.random() < counting:
        return "1"
    if guesses and guesses[0] == 1:
        return str(guesses[-1] + 1)
    low, high = 1, int(messages[0]["content"].rstrip(".").rsplit(" ", 1)[-1])
    answers = [message["content"] for message in messages[1:] if message["role"] == "user"]
    for guess, answer in zip(guesses, answers, strict=True):
        low, high = (guess + 1, high) if answer == "higher" else (low, guess - 1)
    return str((low + high) // 2)
