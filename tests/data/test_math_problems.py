"""Generated arithmetic, checked by reading it another way."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_agentrl.data import math_files
from lightning_agentrl.data.math_files import holds, write_tables
from lightning_agentrl.data.math_problems import (
    KINDS,
    Kind,
    Operation,
    Problem,
    draw_problem,
    draw_problems,
    each_problem,
    step,
)

OPERATIONS = (Operation("*", 48), Operation("-", 5), Operation("%", 7))
EXAMPLE = Problem("What is ((37 * 48) - 5) % 7?", "nested", 37, OPERATIONS)
drawn = st.builds(draw_problem, st.sampled_from(KINDS), st.integers(1, 7), st.integers(1, 3), st.integers().map(Random))


def test_the_steps_of_a_problem_by_hand() -> None:
    # 37 · 48 = 1776, less 5 is 1771 = 253 · 7
    assert (EXAMPLE.steps, EXAMPLE.values) == (["37 * 48", "1776 - 5", "1771 % 7"], [1776, 1771, 0])
    assert EXAMPLE.row("x") == {
        "id": "x",
        "problem": "What is ((37 * 48) - 5) % 7?",
        "answer": "0",
        "metadata": {"level": 3, "kind": "nested", "steps": ["37 * 48", "1776 - 5", "1771 % 7"]},
    }


@given(problem=drawn)
def test_python_agrees_with_every_step(problem: Problem) -> None:
    assert [eval(step) for step in problem.steps] == problem.values


@given(problem=drawn)
def test_each_step_but_the_first_begins_with_what_came_out_before(problem: Problem) -> None:
    begins = [int(step.split()[0]) for step in problem.steps]
    assert begins == [problem.start, *problem.values[:-1]]


@given(problem=drawn)
def test_numbers_stay_short_and_are_never_negative(problem: Problem) -> None:
    assert all(0 <= value < 10**6 for value in (problem.start, *problem.values))


@given(problem=drawn)
def test_what_is_divided_to_solve_an_equation_is_divisible(problem: Problem) -> None:
    before = [problem.start, *problem.values]
    exact = [
        value % done.operand == 0
        for value, done in zip(before, problem.operations, strict=False)
        if done.symbol == "//"
    ]
    assert all(exact)


def asked_for(problem: Problem) -> int:
    """The answer to the text, found without a look at the operations."""
    text = problem.text
    if problem.kind == "nested":
        return int(eval(text.removeprefix("What is ").removesuffix("?")))
    if problem.kind == "remainder":
        inner, divisor = re.fullmatch(r"What is left over when (.+) is divided by (\d+)\?", text).groups()
        return int(eval(inner)) % int(divisor)
    if problem.kind == "equation":
        left, right = text.removeprefix("Find x: ").split(" = ")
        slope = eval(left, {"x": 1}) - eval(left, {"x": 0})  # these are linear
        return (int(right) - eval(left, {"x": 0})) // slope
    value, *rest = re.split(r"(?<=[.?]) ", text)[:-1]
    result = int(re.findall(r"\d+", value)[0])
    for sentence in rest:
        number = int(re.findall(r"\d+", sentence)[0])
        if re.search("subtract|decrease|take|loses|sells|gives", sentence):
            result -= number
        elif re.search("multiply|scale|times|turns|spell|swaps", sentence):
            result *= number
        elif re.search("add|increase|put|finds|gets|buys", sentence):
            result += number
        else:
            raise AssertionError(sentence)
    return result


@given(problem=drawn)
def test_the_text_asks_for_the_answer(problem: Problem) -> None:
    assert asked_for(problem) == problem.answer


def test_levels_and_kinds_take_turns() -> None:
    problems = draw_problems(60, 3, Random(0))
    assert [len(problem.operations) for problem in problems[:4]] == [1, 2, 3, 1]
    assert set(Counter((len(p.operations), p.kind) for p in problems).values()) == {60 // 3 // len(KINDS)}


def test_kinds_can_be_chosen() -> None:
    kinds: tuple[Kind, ...] = ("equation", "story")
    assert {problem.kind for problem in draw_problems(20, 2, Random(0), kinds=kinds)} == set(kinds)


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_digits_bound_the_numbers_of_a_problem(digits: int) -> None:
    kinds: tuple[Kind, ...] = ("nested", "chain", "remainder", "story")  # equations state a result, too
    for problem in draw_problems(200, 4, Random(0), digits=digits, kinds=kinds):
        first, *others = [len(number) for number in re.findall(r"\d+", problem.text)]
        assert first <= digits + 1
        assert max(others) <= digits


def test_no_problem_is_drawn_twice() -> None:
    assert len({problem.text for problem in draw_problems(2000, 1, Random(0))}) == 2000


def test_no_problem_is_drawn_that_is_excluded() -> None:
    first = {problem.text for problem in islice(each_problem(1, Random(0), digits=1), 500)}
    second = {problem.text for problem in islice(each_problem(1, Random(0), digits=1, exclude=first), 500)}
    assert not first & second


def test_the_same_seed_draws_the_same_problems() -> None:
    assert draw_problems(40, 4, Random(7)) == draw_problems(40, 4, Random(7)) != draw_problems(40, 4, Random(8))


def test_more_problems_than_there_are_is_an_error_and_no_endless_search() -> None:
    # 98 first numbers and 7 divisors
    with pytest.raises(ValueError, match="hardly more problems of kind remainder, level 1 and 1 digits"):
        draw_problems(10_000, 1, Random(0), digits=1, kinds=("remainder",))


def test_a_step_is_python() -> None:
    assert step(1776, Operation("//", 5)) == "1776 // 5"


FILES = ("a.jsonl", "b.jsonl")
TABLES = {"a.jsonl": [{"x": 1}, {"x": "ü"}], "b.jsonl": [{"y": 2}]}


def test_tables_are_written_as_json_lines(tmp_path: Path) -> None:
    write_tables(tmp_path / "new", TABLES, {"seed": 0})
    lines = (tmp_path / "new" / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == TABLES["a.jsonl"]


@pytest.mark.parametrize(
    ("parameters", "there"), [({"seed": 0, "kinds": ("a", "b")}, True), ({"seed": 1, "kinds": ("a", "b")}, False)]
)
def test_a_folder_knows_what_it_was_written_with(tmp_path: Path, parameters: dict[str, Any], there: bool) -> None:
    write_tables(tmp_path, TABLES, {"seed": 0, "kinds": ("a", "b")})
    assert holds(tmp_path, FILES, parameters) == there


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl", math_files.PARAMETERS])
def test_a_folder_without_one_of_its_files_is_not_complete(tmp_path: Path, name: str) -> None:
    write_tables(tmp_path, TABLES, {})
    (tmp_path / name).unlink()
    assert not holds(tmp_path, FILES, {})


def test_damaged_parameters_are_no_parameters(tmp_path: Path) -> None:
    write_tables(tmp_path, TABLES, {})
    (tmp_path / math_files.PARAMETERS).write_text("{")
    assert not holds(tmp_path, FILES, {})


def test_a_full_disk_leaves_the_old_tables_as_they_were(tmp_path: Path) -> None:
    def disk_full() -> Iterator[dict[str, Any]]:
        yield {"x": 2}
        raise OSError("No space left on device")

    write_tables(tmp_path, TABLES, {"seed": 0})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="No space"):
        write_tables(tmp_path, {"a.jsonl": TABLES["a.jsonl"], "b.jsonl": disk_full()}, {"seed": 1})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_half_moved_tables_are_not_taken_for_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path, TABLES, {"seed": 0})
    move = os.replace

    def power_cut(source: Path, target: Path) -> None:
        if target.name == "b.jsonl":
            raise OSError("power cut")
        move(source, target)

    monkeypatch.setattr(math_files.os, "replace", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write_tables(tmp_path, TABLES, {"seed": 1})
    assert not holds(tmp_path, FILES, {"seed": 0})
    assert not holds(tmp_path, FILES, {"seed": 1})
