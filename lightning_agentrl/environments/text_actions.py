"""What the policy does in a text game: the command between its tags, read as verl-agent reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENING, CLOSING = "<action>", "</action>"
CJK = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class TextAction:
    """A command, and whether it was given in the form that was asked for."""

    command: str
    """What the game is told: one line in lower case."""
    valid: bool
    """Whether the turn had the form; whether the game understands the command is the game's to say."""


@dataclass(frozen=True)
class TextActions:
    """The reading of verl-agent: what stands between the first ``<action>`` and the next ``</action>``.

    A turn without the two tags is invalid, and its last characters are sent instead. Invalid are also a turn without a
    thought, if one is asked for, and one with Chinese characters. Whether the command is admissible is not checked: the
    game says that nothing happens. Deviation: white space becomes single spaces, for a line break would end the command
    and begin another one.
    """

    needs_thought: bool = False
    """Whether a turn without <think> and </think> is invalid, as it is in verl-agent."""
    tail: int = 30
    """Characters that are sent of a turn without tags; verl-agent sends 30 to ALFWorld."""

    def __post_init__(self) -> None:
        if self.tail < 1:
            raise ValueError(f"tail must be at least 1 character, got {self.tail}.")

    def __call__(self, text: str) -> TextAction:
        """Read one turn of the policy."""
        lowered = text.lower()
        _, opened, rest = lowered.partition(OPENING)
        command, closed, _ = rest.partition(CLOSING)
        if not (opened and closed):
            return TextAction(" ".join(lowered[-self.tail :].split()), False)
        thought = not self.needs_thought or ("<think>" in text and "</think>" in text)
        return TextAction(" ".join(command.split()), thought and CJK.search(text) is None)
