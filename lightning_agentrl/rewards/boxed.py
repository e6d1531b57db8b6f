r"""Finds what a policy put into ``\boxed{…}``."""

from __future__ import annotations

import re

from lightning_agentrl.types import Trajectory

BRACES = re.compile(r"(\\(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)
"""The opening of a box (captured), an escaped character such as an escaped brace, or a brace."""


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{…}`` or ``\fbox{…}`` whose braces close; None if there is none.

    Escaped braces do not count; of boxes inside one another the outermost is taken. One pass, however hostile the text.
    """
    opened: list[int | None] = []  # for each open brace where its box begins, None for a brace of another kind
    last: tuple[int, int] | None = None
    for match in BRACES.finditer(text):
        if match[1]:
            opened.append(match.end())
        elif match[0] == "{":
            opened.append(None)
        elif match[0] == "}" and opened:
            begin = opened.pop()
            last = last if begin is None else (begin, match.start())
    return text[slice(*last)] if last else None


def answer_of(trajectory: Trajectory, boxed_only: bool) -> str | None:
    r"""The policy's answer; with ``boxed_only`` the content of its last ``\boxed{…}``, and None without one."""
    answer = trajectory.answer
    return boxed(answer) if boxed_only and answer is not None else answer
