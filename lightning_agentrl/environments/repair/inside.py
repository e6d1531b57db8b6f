"""What runs in the sandbox beside a repository: its tests, or the cases that say whether it is repaired.

Its source is sent there, in front of a line that calls it, so it imports nothing of ours.
"""

from __future__ import annotations

import importlib
import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any


def run_tests(paths: Sequence[str]) -> None:
    """Run the test functions of these files, and print a line for each and a summary."""
    passed = failed = 0
    for path in paths:
        name = path.removesuffix(".py").replace("/", ".")
        try:
            tests = vars(importlib.import_module(name))
        except Exception as error:  # noqa: BLE001 - whatever stands in the files
            print(f"{path} cannot be imported: {_line(error)}")  # noqa: T201
            failed += 1
            continue
        for test, function in list(tests.items()):
            if test.startswith("test_") and callable(function):
                try:
                    function()
                    passed += 1
                except Exception as error:  # noqa: BLE001
                    print(f"FAILED {test}: {_line(error)}")  # noqa: T201
                    failed += 1
    print(f"{passed} passed, {failed} failed")  # noqa: T201


def run_cases(
    nonce: str,
    home: Mapping[str, str],
    cases: Sequence[str],
    show: Callable[[object], str],
    raised: Callable[[Exception], str],
) -> None:
    """Print what each expression comes to, in lines that begin with the nonce. What else is printed is dropped.

    Args:
        nonce: marks our lines.
        home: public name → module that has it.
        cases: expressions over these names.
        show: writes values.
        raised: writes exceptions.
    """
    say = sys.stdout
    sys.stdout = sys.stderr = io.StringIO()
    names: dict[str, Any] = {}
    for name, module in home.items():
        try:
            names[name] = getattr(importlib.import_module(module), name)
        except Exception:  # noqa: BLE001 - the cases that need it will fail
            continue
    for number, case in enumerate(cases):
        try:
            text = show(eval(case, dict(names)))
        except Exception as error:  # noqa: BLE001
            text = raised(error)
        say.write(f"{nonce} {number} {text}\n")
        say.flush()


def _line(error: Exception) -> str:
    """What went wrong, and in which line of the repository."""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, SyntaxError):
        return f"{what} (line {error.lineno})"
    place = _place(error.__traceback__)
    return f"{what} ({place})" if place else what


def _place(trace: TracebackType | None) -> str:
    frames = [frame for frame in traceback.extract_tb(trace) if "importlib" not in frame.filename]
    if not frames:
        return ""
    return f"{frames[-1].filename.rpartition('/')[2]} line {frames[-1].lineno}: {frames[-1].line}"
