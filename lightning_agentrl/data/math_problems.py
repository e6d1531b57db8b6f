"""Generated arithmetic: chains of operations on whole numbers, told in several ways, graded by their length."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Any, Literal, get_args

Symbol = Literal["+", "-", "*", "//", "%"]
Kind = Literal["nested", "chain", "remainder", "equation", "story"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LARGEST = 100_000
"""Values are not multiplied beyond it, so that what has to be copied stays short."""
TRIES = 1000
"""Draws of a problem that was not there before."""
COMPUTE: Mapping[Symbol, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}
INVERSE: Mapping[Symbol, Symbol] = {"+": "-", "-": "+", "*": "//"}
ORDERS: Mapping[Symbol, tuple[str, ...]] = {
    "+": ("add {n}", "increase by {n}", "put {n} on top"),
    "-": ("subtract {n}", "decrease by {n}", "take {n} away"),
    "*": ("multiply by {n}", "scale by {n}", "make it {n} times as much"),
}
EVENTS: Mapping[Symbol, tuple[str, ...]] = {
    "+": ("{who} finds {n} more", "{who} gets {n} as a gift", "{who} buys {n} more"),
    "-": ("{who} loses {n} of them", "{who} sells {n} of them", "{who} gives {n} away"),
    "*": ("each of them turns into {n}", "a spell makes {n} of each", "{who} swaps each for {n}"),
}
ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_LEVELS = 7
PEOPLE = ("Ann", "Bob", "Eve", "Joe")
THINGS = ("pens", "nuts", "cups", "hats")


@dataclass(frozen=True)
class Operation:
    """What is done to the value so far."""

    symbol: Symbol
    operand: int

    def __call__(self, value: int) -> int:
        """The value afterwards."""
        return COMPUTE[self.symbol](value, self.operand)


@dataclass(frozen=True)
class Problem:
    """A text, and the operations that lead from a number in it to the answer, one by one."""

    text: str
    kind: Kind
    start: int
    operations: tuple[Operation, ...]
    sentences: tuple[str, ...] = ()
    """The sentence of the text that tells of each operation; none where the text is a formula."""

    @property
    def values(self) -> list[int]:
        """The value after each operation."""
        values, value = [], self.start
        for operation in self.operations:
            value = operation(value)
            values.append(value)
        return values

    @property
    def answer(self) -> int:
        """The value after the last one."""
        return self.values[-1]

    @property
    def steps(self) -> list[str]:
        """The operations as Python expressions, each one on the value before it: ``37 * 48``, ``1776 - 5``."""
        before = [self.start, *self.values]
        return [step(value, operation) for value, operation in zip(before, self.operations, strict=False)]

    def row(self, id: str) -> dict[str, Any]:
        """The problem as a row of a file."""
        about = {"level": len(self.operations), "kind": self.kind, "steps": self.steps}
        return {"id": id, "problem": self.text, "answer": str(self.answer), "metadata": about}


def step(value: int, operation: Operation) -> str:
    """One operation on a value as a Python expression."""
    return f"{value} {operation.symbol} {operation.operand}"


def each_problem(
    levels: int, rng: Random, *, digits: int = 2, kinds: Sequence[Kind] = KINDS, exclude: Collection[str] = ()
) -> Iterator[Problem]:
    """Problems without end; levels 1 … ``levels`` take turns, in this order, and so do the kinds.

    Args:
        levels: greatest number of operations.
        rng: the only source of randomness.
        digits: most digits of a number that is added, multiplied by …; the first number has one more.
        kinds: ways to tell them.
        exclude: texts of problems that must not be drawn; looked at for each problem anew.

    Raises:
        ValueError: hardly any other problems are left.
    """
    for kind in cycle(kinds):
        for level in range(1, levels + 1):
            for _ in range(TRIES):
                problem = draw_problem(kind, level, digits, rng)
                if problem.text not in exclude:
                    break
            else:
                raise ValueError(
                    f"There are hardly more problems of kind {kind}, level {level} and {digits} digits than the "
                    f"{len(exclude)} that are drawn or excluded; ask for fewer, or for more digits."
                )
            yield problem


def draw_problems(
    count: int, levels: int, rng: Random, *, digits: int = 2, kinds: Sequence[Kind] = KINDS
) -> list[Problem]:
    """Draw so many different problems; see `each_problem`."""
    drawn: dict[str, Problem] = {}
    for problem in islice(each_problem(levels, rng, digits=digits, kinds=kinds, exclude=drawn.keys()), count):
        drawn[problem.text] = problem
    return list(drawn.values())


def draw_problem(kind: Kind, level: int, digits: int, rng: Random) -> Problem:
    """Draw a problem of so many operations, at most `MOST_LEVELS`, on numbers of so many digits."""
    most = 10**digits - 1
    start = rng.randint(11, 10 * most + 9)
    operations: list[Operation] = []
    value = start
    for _ in range(level - (kind == "remainder")):
        operations.append(_operation(value, most, rng))
        value = operations[-1](value)
    if kind == "equation":
        backwards = [Operation(INVERSE[done.symbol], done.operand) for done in reversed(operations)]
        return Problem(f"Find x: {_nested('x', operations)} = {value}", kind, value, tuple(backwards))
    if kind == "remainder":
        divisor = rng.randint(3, most)
        text = f"What is left over when {_nested(str(start), operations)} is divided by {divisor}?"
        return Problem(text, kind, start, (*operations, Operation("%", divisor)))
    if kind == "nested":
        return Problem(f"What is {_nested(str(start), operations)}?", kind, start, tuple(operations))
    if kind == "chain":
        orders = _in_words(operations, ORDERS, rng)
        sentences = tuple(f"{ordinal} {order}." for ordinal, order in zip(ORDINALS, orders, strict=False))
        text = f"Start with {start}. {' '.join(sentences)} What comes out?"
    else:
        who, things = rng.choice(PEOPLE), rng.choice(THINGS)
        events = _in_words(operations, EVENTS, rng, who)
        sentences = tuple(f"On {day} {event}." for day, event in zip(DAYS, events, strict=False))
        text = f"{who} has {start} {things}. {' '.join(sentences)} How many {things} are there now?"
    return Problem(text, kind, start, tuple(operations), sentences)


def _in_words(
    operations: Sequence[Operation], words: Mapping[Symbol, tuple[str, ...]], rng: Random, who: str = ""
) -> list[str]:
    """Each operation in words; none are used twice while there are others, so that they can be told apart."""
    left: dict[Symbol, list[str]] = {}
    told = []
    for done in operations:
        if not left.get(done.symbol):
            left[done.symbol] = rng.sample(words[done.symbol], len(words[done.symbol]))
        told.append(left[done.symbol].pop().format(n=done.operand, who=who))
    return told


def _operation(value: int, most: int, rng: Random) -> Operation:
    """One with a number from 2 to ``most`` that leaves the value positive, and short enough to be copied."""
    possible: list[Symbol] = ["+"]
    if value > 11:
        possible.append("-")
    if value * most <= LARGEST:
        possible.append("*")
    symbol = rng.choice(possible)
    return Operation(symbol, rng.randint(2, min(most, value - 1) if symbol == "-" else most))


def _nested(inner: str, operations: Sequence[Operation]) -> str:
    """``((37 * 48) - 5) * 3``."""
    for number, done in enumerate(operations):
        inner = f"{f'({inner})' if number else inner} {done.symbol} {done.operand}"
    return inner
