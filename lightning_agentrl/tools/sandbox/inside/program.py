"""Runs a program the way a notebook would, and shows its errors without ours around them."""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import os
import sys
import traceback
from collections import deque
from types import CodeType, ModuleType, TracebackType

from .plan import EXIT_ERROR, EXIT_MEMORY

NAME = "<program>"
MOST_FRAMES = 10
"""Frames of a traceback that are shown, the innermost."""
MOST_CHARACTERS = 1000
"""Of each part of it: a source line, a message."""


class _Output(io.FileIO):
    """Standard output that knows whether it was used."""

    used = False

    def write(self, data: object, /) -> int:
        _Output.used = True
        return super().write(data)  # type: ignore[arg-type]


def run(code: str, folder: str | None) -> int:
    """Run it in a module of its own; the exit status that it deserves."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv, sys.orig_argv = ["program.py"], ["program.py"]
    if folder is not None:
        sys.path.insert(0, folder)
    sys.stdout = _text(_Output(1, "w", closefd=False))
    sys.stderr = _text(io.FileIO(2, "w", closefd=False))
    linecache.cache[NAME] = (len(code), None, code.splitlines(keepends=True), NAME)
    try:
        status = _run(code, module)
    except SystemExit as leaving:
        status = _leave(leaving.code)
    except MemoryError as error:
        _report(error, folder)
        status = EXIT_MEMORY
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its own affair
        _report(error, folder)
        status = EXIT_ERROR
    _flush()
    return status


def _run(code: str, module: ModuleType) -> int:
    body, last = _compile(code)
    exec(body, module.__dict__)
    if last is not None:
        value = eval(last, module.__dict__)
        _flush()
        if value is not None and not _Output.used:
            sys.stdout.write(f"{value!r}\n")
    return 0


def _compile(code: str) -> tuple[CodeType, CodeType | None]:
    """The program, and apart from it the expression that it ends with."""
    tree = ast.parse(code, NAME)
    value = None
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        value = compile(ast.Expression(last.value), NAME, "eval", dont_inherit=True)
        del tree.body[-1]
    return compile(tree, NAME, "exec", dont_inherit=True), value


def _text(raw: io.FileIO) -> io.TextIOWrapper:
    """Line by line, so that a program that is stopped has shown how far it came."""
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _leave(code: object) -> int:
    """What `sys.exit` was given: nothing, a number, or a last word."""
    if code is None or code == 0:
        return 0
    if not isinstance(code, int):
        with contextlib.suppress(Exception):
            sys.stderr.write(f"{code}\n")
    return EXIT_ERROR


def _report(error: BaseException, folder: str | None) -> None:
    """Write the traceback through the program's own lines."""
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__, limit=0, compact=True)
        frames = traceback.StackSummary.from_list(_frames(error.__traceback__, folder))
        lines = ["Traceback (most recent call last):\n", *frames.format()] if frames else []
        text = "".join(_short(part) for part in [*lines, *shown.format_exception_only()])
    except BaseException:  # noqa: BLE001 - no memory left, or a class that fights being shown
        text = f"{type(error).__name__}\n"
    with contextlib.suppress(BaseException):
        _flush()
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _short(part: str) -> str:
    return part if len(part) <= MOST_CHARACTERS else f"{part[:MOST_CHARACTERS]} …\n"


def _frames(trace: TracebackType | None, folder: str | None) -> list[traceback.FrameSummary]:
    """Frames of the program and of its files, which are named from its folder on."""
    roots = (NAME,) if folder is None else (NAME, folder + os.sep)
    own = (found for found in traceback.walk_tb(trace) if found[0].f_code.co_filename.startswith(roots))
    frames = []
    for frame, line in deque(own, maxlen=MOST_FRAMES):  # a deep recursion has millions, and no memory left
        name = frame.f_code.co_filename
        source = linecache.getline(name, line)
        frames.append(
            traceback.FrameSummary(
                name if name == NAME else name.removeprefix(roots[-1]), line, frame.f_code.co_name, line=source
            )
        )
    return frames


def _flush() -> None:
    """Both streams, whatever the program did to them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
