"""Running small projects within bounds."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_agentrl.data.repair_bounds import Unbounded
from lightning_agentrl.data.repair_run import Project, show


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A gigabyte more than is in use, so that a bound which does not hold fails a test and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what memory is in use from /proc")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "for _ in iter(int, 1): pass",
        "return [x for x in iter(int, 1)]",
        "return sum(1 for _ in iter(int, 1))",
        "return f()",
        "x = 'a'\n    while True: x += x",
        "x = 'a'\n    while True: x = x + x",
        "x = [1]\n    while True: x = x * 2",
        "x = 3\n    while True: x = x * x",
        "return 'a' * 10**9",
        "return 10**9 * [1]",
        "return 9**9**9",
    ],
)
def test_nothing_runs_on_or_grows_for_ever(body: str) -> None:
    with pytest.raises((Unbounded, RecursionError)):
        _run(body)


def _run(body: str) -> None:
    (result,) = Project({"m.py": f"def f():\n    {body}\n"}).evaluate(["f()"])
    if result == "raises RecursionError":
        raise RecursionError


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return 2 * 3 + 4 ** 2", "22"),
        ("return 'ab' * 3 + 'c'", "'abababc'"),
        ("return [x * 2 for x in range(3) if x]", "[2, 4]"),
        ("x = [1]\n    y = x\n    x += [2]\n    return y", "[1, 2]"),  # in place
        ("return 0.5 * 4", "2.0"),
        ("raise KeyError(3)", "raises KeyError"),
    ],
)
def test_bounds_do_not_change_what_a_program_does(body: str, value: str) -> None:
    assert Project({"m.py": f"def f():\n    {body}\n"}).evaluate(["f()"]) == (value,)


def test_files_import_each_other_and_nothing_of_this_process_changes() -> None:
    before = set(sys.modules)
    project = Project({"p/one.py": "import math\nX = 2\ndef f(): return math.sqrt(X * 2)\n",
                       "p/two.py": "from .one import f\ndef g(): return f() + 1\n"})  # fmt: skip
    assert project.evaluate(["g()", "f()", "X"]) == ("3.0", "2.0", "raises NameError")
    assert project.home == {"f": "p.one", "g": "p.two"}
    assert not {"p", "p.one", "p.two"} & (set(sys.modules) - before)


def test_an_expression_leaves_nothing_to_the_next_one() -> None:
    project = Project({"m.py": "def f(): return 1\n"})
    assert project.evaluate(["[f := 5, f]", "f()"]) == ("[5, 5]", "1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": {3, 1}, "a": ()}, "{'a': (), 'b': {1, 3}}"),
        ((1,), "(1,)"),
        ((1, [None]), "(1, [None])"),
        (set(), "set()"),
        (frozenset({2}), "{2}"),
        ("a\nb", "'a\\nb'"),
        (True, "True"),
    ],
)
def test_equal_values_are_written_alike(value: object, text: str) -> None:
    assert show(value) == text
