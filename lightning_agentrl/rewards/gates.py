"""Format gates: what a response must look like to earn anything, as ARPO, A²TGPO and IGPO say, and for Hermes calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_agentrl.rewards.base import Gate
from lightning_agentrl.rewards.response import balanced, said, spliced
from lightning_agentrl.types import CallError, Trajectory

MALFORMED = frozenset(CallError) - {
    CallError.UNKNOWN_TOOL,
    CallError.MISSING_ARGUMENT,
    CallError.EXTRA_ARGUMENT,
    CallError.WRONG_TYPE,
    CallError.TOO_MANY_CALLS,
}
"""Mistakes of form: the others are calls that could be read."""


@dataclass(frozen=True)
class TagGate(Gate):
    r"""The rule of ARPO (arXiv:2507.19849), APPO and A²TGPO (arXiv:2605.06200), for formats with a tag per tool.

    Thoughts close and there is one at least; there is exactly one answer; each call is followed in order by its closing
    tag and a whole result; the answer holds a box.
    """

    fails: float = -1.0
    """What a trajectory earns that does not keep to the format."""
    calls: Sequence[str] = ("search", "python")
    """Tags that call a tool."""
    result: str = "result"
    """Tag around what a tool returned."""
    think: bool = True
    """Whether <think> must occur, and as often as </think>."""
    box: bool = True
    r"""Whether the answer must hold a \boxed{}."""
    tool_text: bool = False
    """Whether tags in what tools returned count too, as in the released code: then a page that holds <answer> fails the
    policy that found it."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "tags"

    def __call__(self, trajectory: Trajectory) -> float | None:
        """``fails``, or None to let the trajectory pass."""
        text = spliced(trajectory, self.result, self.tool_text)
        good = _one_answer(text, self.box) and all(_calls_are_answered(text, tag, self.result) for tag in self.calls)
        if self.think:
            good = good and text.count("<think>") == text.count("</think>") >= 1
        return None if good else self.fails


@dataclass(frozen=True)
class BalancedTagsGate(Gate):
    """IGPO's rule (arXiv:2510.14967, released code): tags are balanced, and there is an answer."""

    fails: float = -2.0
    """What a trajectory earns that does not keep to the format."""
    tags: Sequence[str] = ("code", "tool_call", "think", "answer")
    """Tags of which each opening one needs a closing one behind it, and the other way round."""
    tool_text: bool = False
    """Whether tags in what tools returned count too, as in the released code: then a page that holds <code> fails the
    policy that found it."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "balanced_tags"

    def __call__(self, trajectory: Trajectory) -> float | None:
        """``fails``, or None to let the trajectory pass."""
        text = said(trajectory, self.tool_text)
        good = all(balanced(text, tag) for tag in self.tags) and _before(text, "<answer>", "</answer>")
        return None if good else self.fails


@dataclass(frozen=True)
class HermesGate(Gate):
    """For Hermes calls: every call can be read, thoughts close, and the last turn gives exactly one answer."""

    fails: float = -1.0
    """What a trajectory earns that does not keep to the format."""
    think: Literal["optional", "required"] = "optional"
    """Whether each turn must begin with a thought. Thoughts must close in either case; one that the prompt opened has
    its closing tag alone."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "hermes"

    def __call__(self, trajectory: Trajectory) -> float | None:
        """``fails``, or None to let the trajectory pass."""
        calls = [call for turn in trajectory.turns for call in turn.tool_calls]
        good = (
            trajectory.answer is not None
            and trajectory.turns[-1].text.rpartition("</think>")[2].count("<answer>") == 1
            and not any(call.error_kind in MALFORMED for call in calls)
            and all(self._thoughts_close(turn.text) for turn in trajectory.turns)
        )
        return None if good else self.fails

    def _thoughts_close(self, text: str) -> bool:
        if "</think>" in text.partition("<think>")[0]:
            text = f"<think>{text}"
        if self.think == "required" and not text.lstrip().startswith("<think>"):
            return False
        return balanced(text, "think")


def _one_answer(text: str, box: bool) -> bool:
    """Whether there is one pair of answer tags in order, with a box inside if that is asked for."""
    if text.count("<answer>") != 1 or text.count("</answer>") != 1 or not _before(text, "<answer>", "</answer>"):
        return False
    answer = text.partition("<answer>")[2].partition("</answer>")[0]
    return not box or _before(answer, "\\boxed{", "}")


def _calls_are_answered(text: str, call: str, result: str) -> bool:
    """Whether behind each opening tag come its closing one, then the opening and the closing one of a result."""
    place = text.find(f"<{call}>")
    while place >= 0:
        end = place
        for tag in (f"</{call}>", f"<{result}>", f"</{result}>"):
            end = text.find(tag, end)
            if end < 0:
                return False
        place = text.find(f"<{call}>", end)
    return True


def _before(text: str, first: str, second: str) -> bool:
    place = text.find(first)
    return place >= 0 and text.find(second, place + len(first)) >= 0
