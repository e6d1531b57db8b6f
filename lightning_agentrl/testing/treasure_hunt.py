"""A class as TRL's ``environment_factory`` takes it, its rows, and a script that plays it with one systematic flaw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.types import ParsedCall

COLOURS = ("red", "blue", "green", "black", "white", "brown", "grey", "pink", "gold", "silver", "orange", "purple")


class TreasureHunt:
    """Boxes hold notes that name other boxes; the last one of the trail holds a coin, and taking it earns 1."""

    def __init__(self) -> None:
        self._trail: Sequence[str] = ()
        self._opened: str | None = None
        self._taken = False

    def reset(self, trail: Sequence[str], **columns: Any) -> str | None:
        """Hide a coin at the end of a trail."""
        self._trail = trail
        self._opened = None
        self._taken = False
        return f"Start with {trail[0]}."

    def open(self, box: str) -> str:
        """Open a box and look inside.

        Args:
            box: Colour of the box.
        """
        if box not in COLOURS:
            raise ValueError(f"there is no {box} box")
        self._opened = box
        if box not in self._trail:
            return "empty"
        place = list(self._trail).index(box)
        return "coin" if place + 1 == len(self._trail) else f"note: {self._trail[place + 1]}"

    def take(self) -> str:
        """Take what is in the box that was opened last."""
        self._taken = self._opened == self._trail[-1]
        return "You have the coin." if self._taken else "You have no coin."

    def get_reward(self) -> float:
        """1 with the coin, else 0."""
        return float(self._taken)


def rows(split: str) -> Iterator[dict[str, Any]]:
    """Trails of one to three boxes; no trail of two or more is in both splits."""
    rng = Random(0)
    drawn: list[list[str]] = []
    while len(drawn) < 348:  # 116 of the 132 trails of two boxes
        trail = rng.sample(COLOURS, len(drawn) % 3 + 1)
        if len(trail) == 1 or trail not in drawn:
            drawn.append(trail)
    for trail in drawn[:300] if split == "train" else drawn[300:]:
        prompt = [{"role": "user", "content": "Find the coin and take it. "}]
        yield {"prompt": prompt, "trail": trail, "hops": len(trail), "coin": trail[-1]}


def play(messages: Sequence[Mapping[str, str]], rng: Random, hasty: float = 0.6) -> str | ParsedCall:
    """Follow the notes and take the coin; with probability ``hasty`` take what is in the first box, whatever it is."""
    heard = [message["content"] for message in messages if message["role"] == "tool"]
    if not heard:
        start = messages[0]["content"].rstrip(".").rsplit(" ", 1)[-1]
        return ParsedCall("open", {"box": start})
    if heard[-1].startswith("You have"):
        return "Done."
    if heard[-1] == "coin" or (len(heard) == 1 and rng.random() < hasty):
        return ParsedCall("take", {})
    return ParsedCall("open", {"box": heard[-1].removeprefix("note: ")})


def play_and_tell(messages: Sequence[Mapping[str, str]], rng: Random) -> str | ParsedCall:
    """The same, with the box that was opened last as the answer at the end, right or wrong."""
    said = play(messages, rng)
    if isinstance(said, ParsedCall):
        return said
    opened = [message["content"] for message in messages if message["role"] == "assistant"][-2]
    return f"<answer> {next(colour for colour in COLOURS if colour in opened)} </answer>"


def treasure_hunt(folder: Path) -> TRLEnvironment:
    """The game as an environment whose ground truth is the coin's box, with demonstrations written to ``folder``.

    For notebooks: a network of two layers learns to play it, flaw included, in a quarter of a minute.
    """
    return TRLEnvironment(
        factory=TreasureHunt,
        rows=rows,
        answer_column="coin",
        player=play_and_tell,
        demonstrations=folder / "treasure_hunt" / "demonstrations.jsonl",
    )
