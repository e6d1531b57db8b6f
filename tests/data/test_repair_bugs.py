"""Single slips in Python source."""

import ast
from textwrap import dedent

import pytest

from lightning_agentrl.data.repair_bugs import bugs
from lightning_agentrl.data.repair_tasks import read_library

WHERE = "def f(a, b=1, c=True):\n    {}\n"


@pytest.mark.parametrize(
    ("line", "kind", "slip"),
    [
        ("return a < b", "comparison", "return a <= b"),
        ("return 0 <= a < b", "comparison", "return 0 < a < b"),
        ("return 0 <= a < b", "comparison", "return 0 <= a <= b"),
        ("return a is not b", "comparison", "return a is b"),
        ("return a in b", "comparison", "return a not in b"),
        ("return a + b", "operator", "return a - b"),
        ("return a // b", "operator", "return a % b"),
        ("return -a", "operator", "return a"),
        ("a += b", "operator", "a -= b"),
        ("a += b", "missing_statement", "pass"),
        ("a.pop()", "missing_statement", "pass"),
        ("return a[3]", "off_by_one", "return a[4]"),
        ("return a[3]", "off_by_one", "return a[2]"),
        ("return a(b)", "missing_return", "a(b)"),
        ("return a", "wrong_variable", "return b"),
        ("return c", "wrong_variable", "return a"),
        ("return a and b", "condition", "return a or b"),
        ("return not a", "condition", "return a"),
        ("if a or b: pass", "condition", "if not (a or b): pass"),
        ("while a: break", "loop", "while a: continue"),
        ("return a[1:b]", "slice", "return a[:b]"),
        ("return a[1:b]", "slice", "return a[1:]"),
        ("return a(b, c)", "swapped_arguments", "return a(c, b)"),
        ("return min(a)", "wrong_function", "return max(a)"),
        ("return a.lower()", "wrong_function", "return a.upper()"),
    ],
)
def test_a_slip_changes_one_place_and_is_named(line: str, kind: str, slip: str) -> None:
    found = {(bug.kind, bug.source, bug.line) for bug in bugs(WHERE.format(line))}
    assert (kind, WHERE.format(slip), 2) in found


@pytest.mark.parametrize(("default", "slip"), [("b=1", "b=2"), ("c=True", "c=False")])
def test_a_default_may_be_wrong(default: str, slip: str) -> None:
    source = WHERE.format("return a")
    assert any(bug.kind == "default" and bug.source == source.replace(default, slip) for bug in bugs(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""Says 1 + 2."""',
        'def f():\n    """Says a < b."""\n',
        "x: int | None = y",
        "def f(a: int | str = None) -> list[int]: ...",
        "Pair = tuple[int, 1]",
        "def f(a):\n    return f'{a + 1}'\n".replace("return ", "x = "),
    ],
)
def test_texts_and_annotations_are_left_alone(source: str) -> None:
    assert bugs(source) == []


def test_the_rest_of_the_source_stays_as_it_is() -> None:
    source = dedent('''
        """A module."""  # with a comment


        def f(a, b):
            """A function."""
            total = (a   +
                     b)  # odd, but legal
            return total
    ''')
    lines = source.split("\n")
    for bug in bugs(source):
        changed = bug.source.split("\n")
        assert changed[:6] == lines[:6]
        assert changed[-1] == lines[-1]


def test_every_slip_is_python_and_none_comes_twice() -> None:
    for source in read_library():
        for text in source.files.values():
            found = bugs(text)
            assert len({bug.source for bug in found}) == len(found) > 0
            for bug in found:
                ast.parse(bug.source)
                assert bug.source != text


def test_sources_that_are_not_ascii_are_refused() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        bugs("x = 'ü' + y")
