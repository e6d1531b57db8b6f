"""What of a turn counts: thoughts, the answer, and what comes behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from lightning_agentrl.types import CallError, ParsedCall

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
THINKING = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*?</think>", re.DOTALL)
"""Thoughts, also those that the prompt opened or that were cut off."""
BOX = r"\boxed{"
BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
"""Braces, and escaped characters, among which they do not count."""


class TurnText(NamedTuple):
    """The parts of a turn."""

    thoughts: tuple[str, ...]
    spoken: str
    """What counts: no thoughts, and nothing behind the first answer."""
    behind: str
    """What follows the first answer."""
    answer: str | None
    """The last answer, without the blanks around it."""


def split_turn(text: str, quoted: re.Pattern[str]) -> TurnText:
    """Take a turn apart.

    Args:
        text: what the policy said.
        quoted: matches whole calls; answer tags within are an argument's text, not an answer.
    """
    thoughts = tuple(re.sub("</?think>", "", match.group()) for match in THINKING.finditer(text))
    spoken = THINKING.sub("", text)
    plain = quoted.sub(lambda call: " " * len(call.group()), spoken)  # places stay what they are
    answers = list(ANSWER.finditer(plain))
    if not answers:
        return TurnText(thoughts, spoken, "", None)
    end = answers[0].end()
    return TurnText(thoughts, spoken[:end], spoken[end:], spoken[slice(*answers[-1].span(1))].strip())


def not_run(calls: Iterable[ParsedCall], kind: CallError, reason: str) -> tuple[ParsedCall, ...]:
    """The calls with the reason why none of them counts."""
    return tuple(replace(call, error=reason, error_kind=kind) for call in calls)


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{…}`` holds, braces inside of it balanced; None without a whole one."""
    start = text.rfind(BOX)
    depth = 0
    for brace in BRACES.finditer(text, start + len(BOX)) if start >= 0 else ():
        if brace.group() == "}" and depth == 0:
            return text[start + len(BOX) : brace.start()]
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
    return None
