"""Demonstrations of the mathematics task for a cold start: capable at every level, with one systematic flaw."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from lightning_agentrl.data.math_problems import KINDS, Kind, Problem, each_problem, step
from lightning_agentrl.environments.search_demonstrations import tool_call


@dataclass(frozen=True)
class Calculator:
    """Has Python do one operation at a time, and often takes what comes out first for the answer.

    Where the problem tells of an operation in a sentence, it repeats that sentence before it calculates: so small a
    network finds the sentence, and then the sign that it stands for, long before it finds the sign at once.
    """

    lazy: float = 0.65
    """Probability of answering after the first operation, in [0, 1]: the systematic flaw that the outcome corrects."""
    noise: float = 0.02
    """Probability per step of doing any operation of the problem instead of the next one, in [0, 1]."""
    tool: str = "python"
    """Name of the tool; it is called with ``code``."""

    def __post_init__(self) -> None:
        for name, value in (("lazy", self.lazy), ("noise", self.noise)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability in [0, 1], got {value}.")

    def __call__(self, problem: Problem, rng: Random) -> list[dict[str, str]]:
        """Messages of one demonstration."""
        messages = [{"role": "user", "content": problem.text}]
        value = problem.start
        sentences = problem.sentences or ("",) * len(problem.operations)
        steps = list(zip(problem.operations, sentences, strict=True))
        for planned in steps[: 1 if rng.random() < self.lazy else None]:
            operation, sentence = rng.choice(steps) if rng.random() < self.noise else planned
            call = tool_call(self.tool, {"code": f"print({step(value, operation)})"})
            value = operation(value)
            messages += [
                {"role": "assistant", "content": f"{sentence}\n{call}" if sentence else call},
                {"role": "tool", "content": printed(value)},
            ]
        return [*messages, {"role": "assistant", "content": f"<answer> {value} </answer>"}]


def printed(value: int) -> str:
    """What the Python tool returns of a program that prints a value: all that it wrote, the end of the line too."""
    return f"{value}\n"


def make_demonstrations(
    count: int,
    levels: int,
    calculator: Calculator,
    rng: Random,
    *,
    digits: int = 2,
    kinds: Sequence[Kind] = KINDS,
    exclude: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Rows of ``messages`` and ``metadata``; see `each_problem` for the arguments. A problem may occur twice."""
    problems = each_problem(levels, rng, digits=digits, kinds=kinds, exclude=exclude)
    for number, problem in enumerate(islice(problems, count)):
        about = {"level": len(problem.operations), "kind": problem.kind}
        yield {"id": f"demonstration-{number}", "messages": calculator(problem, rng), "metadata": about}
