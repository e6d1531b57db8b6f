"""Makes games with TextWorld and its Inform 7 compiler, in a worker process: see `workers`.

Knows nothing of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIMPLE: dict[int, dict[str, Any]] = {
    1: {"rewards": "dense", "goal": "detailed"},
    2: {"rewards": "balanced", "goal": "brief"},
    3: {"rewards": "sparse", "goal": "none"},
}
COOKING: dict[int, dict[str, Any]] = {
    1: {"recipe": 1, "take": 1, "go": 1},
    2: {"recipe": 1, "take": 1, "go": 1, "open": True},
    3: {"recipe": 1, "take": 1, "go": 1, "open": True, "cook": True},
    4: {"recipe": 1, "take": 1, "go": 6, "open": True, "cook": True},
    5: {"recipe": 1, "take": 1, "go": 6, "open": True, "cook": True, "cut": True},
    6: {"recipe": 2, "take": 2, "go": 6, "open": True, "cook": True, "cut": True},
    7: {"recipe": 3, "take": 3, "go": 9, "open": True, "cook": True, "cut": True},
    8: {"recipe": 3, "take": 3, "go": 12, "open": True, "cook": True, "cut": True, "drop": True},
}
SWITCHES = {"open": False, "cook": False, "cut": False, "drop": False, "split": None}


class Maker:
    """Makes one game after another."""

    def make(self, file: str, kind: str, level: int, seed: int, options: Mapping[str, Any]) -> list[str] | None:
        """Write a game to a .z8 file and a .json file beside it.

        Args:
            file: the .z8 file.
            kind: of game, such as coin_collector.
            level: of difficulty.
            seed: of everything in the game.
            options: theme; for custom games also rooms and objects.

        Returns:
            Commands that win it; None where this seed gives no game, which happens with tight settings.
        """
        import textworld
        from textworld.challenges import CHALLENGES
        from textworld.generator import QuestGenerationError, compile_game, make_game

        asked = textworld.GameOptions()
        asked.seeds = seed
        asked.path = file
        asked.grammar.theme = options["theme"]
        try:
            if kind == "custom":
                asked.nb_rooms, asked.nb_objects = options["rooms"], options["objects"]
                asked.quest_length = level
                game = make_game(asked)
            else:
                settings: dict[str, Any] = {"level": level}
                if kind == "simple":
                    settings = {**SIMPLE[level], "test": False}
                elif kind == "cooking":
                    settings = {**SWITCHES, **COOKING[level], "recipe_seed": seed}
                game = CHALLENGES[f"tw-{kind}"][1](settings, asked)
        except QuestGenerationError:
            return None
        compile_game(game, asked)
        return list(game.walkthrough)
