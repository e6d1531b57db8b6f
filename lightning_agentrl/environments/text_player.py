"""Plays one game of TextWorld or ALFWorld, in a worker process: see `workers`.

Knows nothing of this package. What it returns is a state: ``text`` is what the game says, without its title screen,
``commands`` are the admissible ones; ``won``, ``lost``, ``score``, ``max_score`` and ``objective`` are the game's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

SHORTHANDS = frozenset("n s e w north south east west get pick x l i wait z goal help".split())
"""First words that TextWorld's games understand besides the verbs that they list."""
NEXT_COMMAND = re.compile(r"[.;\n]|\bthen\b")
"""What begins another command in the same line."""
UNKNOWN_VERB = "That's not a verb I recognise."
"""In the words of the games themselves."""
STATUS_LINE = re.compile(r"\n>\s+-= .* =-\S*\s*\Z")
LONGEST = 100
"""Characters of a command that are read."""

State = dict[str, Any]


class Player:
    """One game."""

    def __init__(self, file: str, seed: int = 0) -> None:
        """Load a game.

        Args:
            file: .z8, beside its .json, as TextWorld makes them, or .tw-pddl of ALFWorld.
            seed: of what chance there is in the game.
        """
        import textworld

        self._pddl = file.endswith(".tw-pddl")
        asked = textworld.EnvInfos(
            admissible_commands=True,
            objective=not self._pddl,
            verbs=not self._pddl,
            won=True,
            lost=True,
            score=True,
            max_score=not self._pddl,
            extras=[] if self._pddl else ["walkthrough"],
        )
        self._env = textworld.start(file, asked, wrappers=_alfworld_names() if self._pddl else [])
        self._env.seed(1 + seed % 65521)  # 0 would mean the time
        self._state: State = {}
        self._verbs: frozenset[str] = frozenset()
        self._walkthrough: list[str] = []

    def play(self, commands: Iterable[str] = ()) -> State:
        """Begin anew and give these commands; the state that they lead to."""
        state = self._env.reset()
        self._verbs = frozenset(state.get("verbs") or ()) | SHORTHANDS
        self._walkthrough = list(state.get("extra.walkthrough") or ())
        self._state = self._read(state, {})
        for command in commands:
            self.step(command)
        return self._state

    def step(self, command: str) -> State:
        """Give one command.

        Only the first one of a line is given: games take several, and a turn is meant to be one. TextWorld's games
        also take commands to the interpreter (save, restart, quit, …), which write files or lose track of the game;
        those are no verbs here.
        """
        command = command[:LONGEST]
        if not self._pddl:
            command = NEXT_COMMAND.split(command, maxsplit=1)[0].strip()
            if command.partition(" ")[0] not in self._verbs:
                self._state = {**self._state, "text": UNKNOWN_VERB}
                return self._state
        state, _, _ = self._env.step(command)
        self._state = self._read(state, self._state)
        return self._state

    def walkthrough(self) -> list[str]:
        """Commands that win, as the game's maker knows them; after `play`."""
        return self._walkthrough

    def close(self) -> None:
        """Free the interpreter."""
        self._env.close()

    def _read(self, state: Any, before: State) -> State:
        objective = before.get("objective") or state.get("objective") or ""
        text = state["feedback"]
        if not before and objective and objective in text:
            text = text[text.index(objective) + len(objective) :]  # the title screen stands before it
        elif not before and self._pddl:
            text, _, objective = text.partition("Your task is to: ")
            text = text.partition("=-\n")[2] or text
        return {
            "text": STATUS_LINE.sub("", text).strip(),
            "commands": [each for each in state["admissible_commands"] or () if each != "help"],
            "won": bool(state["won"]),
            "lost": bool(state["lost"]),
            "score": int(state.get("score") or 0),
            "max_score": int(state.get("max_score") or 1),
            "objective": objective.strip(),
        }


def _alfworld_names() -> list[Any]:
    """Readable names instead of the simulator's, "apple 1" for "Apple_bar__plus_00_dot_42…"."""
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler

    return [AlfredDemangler]
