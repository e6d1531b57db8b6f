"""What a policy and its tools said in a trajectory, as one text in which tags can be counted; never the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lightning_agentrl.types import Trajectory


def pieces(trajectory: Trajectory, tool_text: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each turn's text with what answered it; without ``tool_text`` each answer is an empty text.

    A prompt may well hold the tags in its instructions, and what a tool found may hold any; so the prompt never counts,
    and what tools wrote only where a rule says so.
    """
    for turn in trajectory.turns:
        yield turn.text, turn.results if tool_text else ("",) * len(turn.results)


def said(trajectory: Trajectory, tool_text: bool) -> str:
    """All turns' texts, with the bare texts of the results if they count."""
    return "\n".join(text for action, results in pieces(trajectory, tool_text) for text in (action, *results))


def spliced(trajectory: Trajectory, result: str, tool_text: bool) -> str:
    """All turns' texts with each result in a tag of its own, as in formats that splice results into the text."""
    parts: list[str] = []
    for action, results in pieces(trajectory, tool_text):
        parts += [action, *(f"<{result}>\n{text}\n</{result}>" for text in results)]
    return "\n".join(parts)


def balanced(text: str, tag: str) -> bool:
    """Whether each closing tag has an opening one before it, and each opening one a closing one behind it."""
    depth = 0
    for match in re.finditer(f"<(/?){re.escape(tag)}>", text):
        depth += -1 if match[1] else 1
        if depth < 0:
            return False
    return depth == 0
