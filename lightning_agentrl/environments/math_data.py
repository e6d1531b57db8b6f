"""Writes generated problems and demonstrations of solving them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from lightning_agentrl.data.math_files import holds, write_tables
from lightning_agentrl.data.math_problems import KINDS, MOST_LEVELS, Kind, draw_problems
from lightning_agentrl.environments.math_demonstrations import Calculator, make_demonstrations

FILES = ("train.jsonl", "validation.jsonl", "demonstrations.jsonl")
LAYOUT = 1
"""Raise it when the same settings should give other files."""


@dataclass(frozen=True)
class MathProblems:
    """Which problems to make up."""

    levels: int = 4
    """Greatest number of operations in a problem, from 1 to 7."""
    digits: int = 2
    """Most digits of a number that is added, multiplied by …, at least 1; a problem's first number has one more."""
    kinds: Sequence[Kind] = KINDS
    """Ways to tell them: nested expressions, chains of orders, remainders, equations, stories."""
    problems: int = 2048
    """Number of training problems."""
    validation: int = 128
    """Number of validation problems, evenly over levels; none of them is a training problem or is demonstrated."""
    demonstrations: int = 16000
    """Number of demonstrations for the cold start."""
    lazy: float = 0.65
    """Share of demonstrations that answer after the first operation, in [0, 1]."""
    noise: float = 0.02
    """Probability per step that a demonstration does any operation of the problem instead of the next, in [0, 1]."""
    seed: int = 0
    """Of problems and demonstrations."""

    def __post_init__(self) -> None:
        least = min(self.levels, self.digits, self.problems, self.validation, len(self.kinds))
        if least < 1 or self.demonstrations < 0 or self.levels > MOST_LEVELS:
            raise ValueError(
                f"Generated problems need 1 to {MOST_LEVELS} levels, and digits, kinds and problems of each split; "
                f"got {self}."
            )
        Calculator(self.lazy, self.noise)  # checks the two


def write_problems(settings: MathProblems, folder: Path) -> str:
    """Write the files, unless they are there already; the same settings give the same files.

    Returns:
        One line that says what was done.
    """
    parameters = {**asdict(settings), "layout": LAYOUT}
    if holds(folder, FILES, parameters):
        return f"{folder} already holds these problems; nothing to do."
    levels, digits, kinds, seed = settings.levels, settings.digits, settings.kinds, settings.seed
    count, chance = settings.validation + settings.problems, Random(f"problems {seed}")
    drawn = draw_problems(count, levels, chance, digits=digits, kinds=kinds)
    held_out, training = drawn[: settings.validation], drawn[settings.validation :]
    demonstrations = make_demonstrations(
        settings.demonstrations,
        levels,
        Calculator(settings.lazy, settings.noise),
        Random(f"demonstrations {seed}"),
        digits=digits,
        kinds=kinds,
        exclude=frozenset(problem.text for problem in held_out),
    )
    tables = {
        "train.jsonl": (problem.row(f"train-{n}") for n, problem in enumerate(training)),
        "validation.jsonl": (problem.row(f"validation-{n}") for n, problem in enumerate(held_out)),
        "demonstrations.jsonl": demonstrations,
    }
    write_tables(folder, tables, parameters)
    return (
        f"Wrote {settings.problems} training problems, {settings.validation} validation problems and "
        f"{settings.demonstrations} demonstrations to {folder}."
    )
