"""README and tutorials, taken apart: what stands between fences, the commands in it, and the files that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "tutorials").rglob("*.md"))]
ALGORITHMS = sorted((ROOT / "tutorials" / "algorithms").glob("*.md"))
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.(?:py|ya?ml))\b")
"""First line of a block that stands for a file."""


def blocks(page: Path, *languages: str) -> list[str]:
    """What stands between fences, of these languages."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for language, body in found if language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """Arguments of every `agentrl` in the blocks for a shell."""
    for body in blocks(page, "", "sh", "bash", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.strip().startswith("agentrl ") and "…" not in line:
                yield shlex.split(line.strip(), comments=True)[1:]


def write_files(folder: Path) -> Path:
    """All files that pages show, in one folder, as a reader would write them."""
    written: dict[str, str] = {}
    for page in PAGES:
        for body in blocks(page, "python", "yaml"):
            named = FILE.match(body)
            if named:
                assert written.setdefault(named[1], body) == body, f"{named[1]} is shown twice, differently"
                (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
                (folder / named[1]).write_text(body, encoding="utf-8")
    return folder
