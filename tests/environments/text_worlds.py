"""A text game without TextWorld, for a worker: a corridor with a coin at its end. Loaded as a file of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


class Corridor:
    """The file's name says how many rooms there are, the letter before it what is wrong with the game."""

    def __init__(self, file: str, seed: int = 0) -> None:
        self.rooms = int(file.strip("dmr"))
        self.fault = file[0]
        self.seed = seed
        self.place = 0
        self.moods = 0
        self.text = ""
        self.played = 0

    def play(self, commands: Iterable[str] = ()) -> dict[str, Any]:
        self.place, self.text, self.moods = 0, "You wake up.\n\n  It is dark. ", self.moods + 1
        for command in commands:
            self.step(command)
        return self.state()

    def step(self, command: str) -> dict[str, Any]:
        self.played += 1
        if self.fault == "d" and command == "east" and self.place == 1:
            os._exit(3)
        if command == "east":
            self.place = min(self.place + 1, self.rooms)
            self.text = f"You come to room {self.place}."
        elif command == "jump":
            self.place = -1
            self.text = "You fall into a hole."
        else:
            self.text = "Nothing happens."
        if self.fault == "m":  # another text each time
            self.text += f" You feel {os.urandom(4).hex()}."
        return self.state()

    def state(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "commands": ["east", "jump", "wait"],
            "won": self.place == self.rooms,
            "lost": self.place < 0,
            "score": max(self.place, 0),
            "max_score": self.rooms,
            "objective": "Find   the\ncoin.",
        }
