"""Bonuses and penalties for how tools were used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_agentrl.rewards.base import RewardFunction
from lightning_agentrl.types import CallError, Trajectory

INVALID = frozenset(CallError)
"""Failures that are mistakes in the call itself."""


@dataclass(frozen=True)
class BothTools(RewardFunction):
    """1 if each of some tools was used, else 0. ARPO adds 0.1 of it where the outcome is positive (Eq. 8)."""

    tools: Sequence[str] = ("search", "python")
    """Names of the tools."""
    counts: Literal["success", "attempt"] = "success"
    """What a use is: a call that came to something, or any attempt. In ARPO's released code it is enough that the
    closing tag occurs, even if the call failed."""

    def __post_init__(self) -> None:
        if not self.tools:
            raise ValueError("BothTools needs the name of one tool at least, got none.")

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "both_tools"

    async def __call__(self, trajectory: Trajectory) -> float:
        """1 or 0."""
        used = {call.name for turn in trajectory.turns for call in turn.tool_calls if self._counts(call.ok)}
        if self.counts == "attempt":
            texts = [turn.text for turn in trajectory.turns]
            used |= {tool for tool in self.tools if any(f"</{tool}>" in text for text in texts)}
        return float(used.issuperset(self.tools))

    def _counts(self, ok: bool) -> bool:
        return ok or self.counts == "attempt"


@dataclass(frozen=True)
class ToolErrors(RewardFunction):
    """Share of calls that failed, in [0, 1]; 0 without calls. Give it a negative weight."""

    kinds: Literal["all", "invalid"] = "all"
    """Which failures count: all of them, or only calls that could not be run as they were written, so that a program
    that raises an exception is none."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "tool_errors"

    async def __call__(self, trajectory: Trajectory) -> float:
        """The share."""
        calls = [call for turn in trajectory.turns for call in turn.tool_calls]
        failed = [call for call in calls if not call.ok and (self.kinds == "all" or call.error_kind in INVALID)]
        return len(failed) / max(len(calls), 1)
