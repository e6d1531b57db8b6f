"""The files of one episode, and the tools that read, change and test them."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Mapping, Sequence

from lightning_agentrl.environments.repair.judging import run_visible
from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.function import FunctionTool, describe
from lightning_agentrl.tools.sandbox import Sandbox
from lightning_agentrl.tools.text import sound

MOST_CHARACTERS = 20_000
"""Greatest length of a file."""
MOST_HITS = 50
"""Lines that a search shows."""
LONGEST_LINE = 200
"""Characters of a line that are compared, to find one that may be meant."""
LIMITS = ToolLimits(timeout=3600.0)
"""The sandbox stops programs itself; the wait for it is no fault of the policy."""


class Workspace:
    """Files by path, in memory: no path leads to a disk."""

    def __init__(self, files: Mapping[str, str], sandbox: Sandbox) -> None:
        self.files = dict(files)
        self._sandbox = sandbox

    @property
    def tools(self) -> Sequence[Tool]:
        """View, search, edit and run_tests, on these files."""
        functions = (self.view, self.search, self.edit, self.run_tests)
        return [FunctionTool(function, describe(function), LIMITS) for function in functions]

    def copy(self) -> Workspace:
        """The same files, to be changed apart."""
        return Workspace(self.files, self._sandbox)

    async def view(self, path: str, start: int = 1, end: int | None = None) -> ToolResult:
        """Show lines of a file with their numbers.

        Args:
            path: Path of the file, such as store/stock.py.
            start: First line to show, from 1.
            end: Last line to show; the end of the file by default.
        """
        name = self._find(path)
        if name is None:
            return self._missing(path)
        lines = self.files[name].split("\n")
        last = len(lines) if end is None else min(int(end), len(lines))
        if not 1 <= start <= last:
            return _refused("bad_range", f"{name} has lines 1 to {len(lines)}, not {start} to {last}")
        return ToolResult("\n".join(f"{number}\t{lines[number - 1]}" for number in range(int(start), last + 1)))

    async def search(self, text: str) -> ToolResult:
        """Find a text in all files.

        Args:
            text: What to look for, letter by letter.
        """
        if not text:
            return _refused("empty_text", "there is nothing to look for")
        hits = [
            f"{name}:{number}: {line}"
            for name, content in sorted(self.files.items())
            for number, line in enumerate(content.split("\n"), 1)
            if text in line
        ]
        more = [f"and {len(hits) - MOST_HITS} more"] if len(hits) > MOST_HITS else []
        return ToolResult("\n".join([*hits[:MOST_HITS], *more]) or "Nothing found.")

    async def edit(self, path: str, old: str, new: str) -> ToolResult:
        """Replace a text in a file by another one.

        Args:
            path: Path of the file.
            old: The text to replace, white space included; it must occur exactly once in the file.
            new: The text to put in its place.
        """
        # Never awaits: the calls of a turn are started in order, so tests that come behind an edit see it.
        name = self._find(path)
        if name is None:
            return self._missing(path)
        content = self.files[name]
        if not old.strip() or content.count(old) != 1:
            return _refused("no_single_match", _advice(name, content, old))
        new = sound(new)
        if old == new:
            return _refused("no_change", "old and new are the same")
        if len(content) - len(old) + len(new) > MOST_CHARACTERS:
            return _refused("too_long", f"a file has at most {MOST_CHARACTERS} characters")
        self.files[name] = content.replace(old, new)
        first = content[: content.index(old)].count("\n") + 1
        return ToolResult(f"Changed {name} from line {first} on.")

    async def run_tests(self) -> ToolResult:
        """Run the tests of the repository."""
        text, ended = await run_visible(dict(self.files), self._sandbox)
        return ToolResult(text, ok=ended, error_kind=None if ended else "tests_stopped")

    def _find(self, path: str) -> str | None:
        """The file that a path means. Only paths of files that are there mean anything, so none leads elsewhere."""
        name = posixpath.normpath(path)
        return name if name in self.files else None

    def _missing(self, path: str) -> ToolResult:
        return _refused("no_file", f"there is no file {path!r}, only {', '.join(sorted(self.files))}")


def _refused(kind: str, reason: str) -> ToolResult:
    return ToolResult(f"Error: {reason}.", ok=False, error_kind=kind)


def _advice(name: str, content: str, old: str) -> str:
    """Why a text was not found exactly once, and what to do."""
    if not old.strip():
        return "old is empty; give the text to replace"
    count = content.count(old)
    if count:
        places = ", ".join(str(content[:start].count("\n") + 1) for start in _places(content, old))
        return f"old occurs {count} times in {name}, at lines {places}; add lines around it"
    first = old.strip().split("\n")[0][:LONGEST_LINE]
    lines = [line.strip() if len(line) <= LONGEST_LINE else "" for line in content.split("\n")]
    near = difflib.get_close_matches(first, lines, n=1, cutoff=0.5)
    hint = f"; line {lines.index(near[0]) + 1} is close: {near[0]}" if near else ""
    return f"old does not occur in {name}, letter by letter{hint}"


def _places(content: str, old: str) -> list[int]:
    places, start = [], content.find(old)
    while start >= 0:
        places.append(start)
        start = content.find(old, start + len(old))
    return places[:10]
