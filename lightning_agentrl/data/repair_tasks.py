"""Repositories to repair: the library's projects, each with one bug that their tests notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from random import Random

from lightning_agentrl.data.repair_bounds import Unbounded
from lightning_agentrl.data.repair_bugs import Bug, bugs
from lightning_agentrl.data.repair_run import Project

LIBRARY = Path(__file__).parent / "repair_library"
VISIBLE = 3
"""Every so manieth case is a visible test."""


@dataclass(frozen=True)
class Source:
    """A project that works."""

    name: str
    files: Mapping[str, str]
    """Text by path."""
    cases: tuple[str, ...]
    """Expressions whose values say whether it works."""

    @property
    def visible(self) -> tuple[int, ...]:
        """Numbers of the cases that are tests in sight; the others are only known to who judges."""
        return tuple(range(0, len(self.cases), VISIBLE))


@dataclass(frozen=True)
class Repository:
    """A project with a bug."""

    id: str
    project: str
    kind: str
    """Of the bug."""
    path: str
    """File that has the bug."""
    right: str
    """That file without it."""
    files: Mapping[str, str]
    """Text by path, tests included."""
    cases: tuple[str, ...]
    expected: tuple[str, ...]
    """What each case should come to, as `show` writes it."""
    actual: tuple[str, ...]
    """What each case comes to with the bug."""
    visible: tuple[int, ...]
    """Numbers of the cases that are tests in sight."""
    home: Mapping[str, str]
    """Public name → module that defines it."""

    @property
    def failing(self) -> frozenset[int]:
        """Cases that are to pass in the end and do not yet."""
        return frozenset(
            n for n, (is_, should) in enumerate(zip(self.actual, self.expected, strict=True)) if is_ != should
        )


@cache
def read_library() -> tuple[Source, ...]:
    """All projects, by name."""
    return tuple(_read(cases) for cases in sorted(LIBRARY.glob("*.cases")))


def _read(cases: Path) -> Source:
    folder = cases.with_suffix("")
    paths = sorted(folder.glob("[!_]*.py")) if folder.is_dir() else [cases.with_suffix(".py")]
    files = {path.relative_to(LIBRARY).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return Source(cases.stem, files, tuple(filter(None, cases.read_text(encoding="utf-8").splitlines())))


def break_project(source: Source, most: int, rng: Random) -> list[Repository]:
    """Up to ``most`` repositories with a bug each, kinds of bugs taking turns; no two of them behave alike.

    A bug counts if a test in sight fails, and a hidden case too, some case still passes, and everything ends.
    """
    works = Project(source.files)
    expected = works.evaluate(source.cases)
    tests = {f"test_{source.name}.py": write_tests(source, expected, works.home)}
    found: dict[tuple[str, ...], Repository] = {}
    ids: set[str] = set()
    for path, bug in _in_turns(source, rng):
        id = f"{source.name}/{bug.kind}/{path}:{bug.line}"
        files = {**source.files, path: bug.source}
        if len(found) == most or id in ids:
            continue
        try:
            actual = Project(files).evaluate(source.cases)
        except (Exception, Unbounded):  # noqa: BLE001 - it does not even import, for whatever reason, or does not end
            continue
        made = Repository(
            id=id,
            project=source.name,
            kind=bug.kind,
            path=path,
            right=source.files[path],
            files={**files, **tests},
            cases=source.cases,
            expected=expected,
            actual=actual,
            visible=source.visible,
            home=works.home,
        )
        shown = made.failing & set(source.visible)
        if shown and made.failing - shown and len(made.failing) < len(actual) and actual not in found:
            found[actual] = made
            ids.add(id)
    return list(found.values())


def write_tests(source: Source, expected: Sequence[str], home: Mapping[str, str]) -> str:
    """A file of tests for the cases in sight, each a function with an ordinary assertion."""
    used: dict[str, set[str]] = {}
    for number in source.visible:
        for name in _names(source.cases[number]) & home.keys():
            used.setdefault(home[name], set()).add(name)
    imports = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(used.items())]
    tests = [_test(place, source.cases[number], expected[number]) for place, number in enumerate(source.visible, 1)]
    return "\n".join([f'"""Tests of {source.name}."""', "", *imports, *tests]) + "\n"


def _test(place: int, case: str, expected: str) -> str:
    name = f"test_{next(_calls(case))}_{place}"
    if expected.startswith("raises "):
        error = expected.removeprefix("raises ")
        body = f"    try:\n        {case}\n    except {error}:\n        return\n    raise AssertionError('no {error}')"
    else:
        equals = "is" if expected in ("True", "False", "None") else "=="
        body = f"    result = {case}\n    assert result {equals} {expected}, f'it is {{result!r}}'"
    return f"\n\ndef {name}():\n{body}"


def _calls(case: str) -> Iterator[str]:
    """Names of the functions that an expression calls, outermost first."""
    for node in ast.walk(ast.parse(case)):
        if isinstance(node, ast.Call):
            yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr  # type: ignore[attr-defined]


def _names(case: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(case)) if isinstance(node, ast.Name)}


def _in_turns(source: Source, rng: Random) -> Iterator[tuple[str, Bug]]:
    """Every bug with its file, in random order, but one of each kind, then another of each, and so on."""
    by_kind: dict[str, list[tuple[str, Bug]]] = {}
    for path, text in source.files.items():
        for bug in bugs(text):
            by_kind.setdefault(bug.kind, []).append((path, bug))
    shuffled = [rng.sample(group, len(group)) for group in by_kind.values()]
    for turn in zip_longest(*shuffled):
        yield from (chosen for chosen in turn if chosen is not None)
