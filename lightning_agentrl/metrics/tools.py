"""What became of tool calls: how many, how well, why not, and how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_agentrl.metrics.names import NOTHING, dictionary, key, spelling
from lightning_agentrl.metrics.table import Table
from lightning_agentrl.types import CallError, ToolCall, Trajectory

UNREAD = frozenset(CallError) - {CallError.MISSING_ARGUMENT, CallError.EXTRA_ARGUMENT, CallError.WRONG_TYPE}
"""Mistakes of calls that no tool was found for: their name is whatever the policy wrote."""


class ToolSuccess(Table):
    """Calls, successes, errors by kind, and latencies, altogether and by tool.

    ``calls``, ``calls_<tool>``
        per trajectory.
    ``success_<tool>``
        share of the tool's calls that went well.
    ``error_share``, ``error_<kind>``, ``error_<tool>_<kind>``
        share of the calls, or of the tool's calls, that failed, and that failed in this way.
    ``unknown_share``
        share of the calls by a name that no tool answered to.
    ``truncated_share``
        share of the calls whose result was cut off.
    ``executed``, ``saved``
        number of calls that were made in these rollouts, and of those that branches inherited from their parents.
    ``latency_ms``
        mean over all calls; one that was never run took no time.
    ``latency_p50_ms_<tool>`` and so on
        quantiles over the calls that were run in these rollouts.

    Trajectories are what counts, as in training: a call that a branch inherited is one of its calls. Only ``executed``
    and the quantiles leave those out. Tools are named by calls that reached them: a policy may write thousands of other
    names, and a logger would keep each of them for ever.

    Args:
        section: first part of the logged names.
        quantiles: of latencies, in [0, 1].
    """

    columns: ClassVar = {
        "loads": torch.int64,  # per trajectory: calls
        "tools": torch.int64,  # and per call
        "kinds": torch.int64,
        "latencies": torch.float32,
        "truncated": torch.uint8,
        "executed": torch.uint8,
        "tool_names": torch.uint8,  # spelled
        "kind_names": torch.uint8,
    }

    def __init__(self, section: str = "tool", quantiles: Sequence[float] = (0.5, 0.95)) -> None:
        super().__init__(section)
        if any(not 0 <= quantile <= 1 for quantile in quantiles):
            raise ValueError(f"Quantiles of latencies must lie in [0, 1], got {list(quantiles)}.")
        self.quantiles = tuple(quantiles)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add the calls of trajectories."""
        made: list[tuple[ToolCall, bool]] = []
        for trajectory in trajectories:
            own = len(trajectory.turns) - sum(1 for _ in trajectory.own_turns)
            made += [(call, turn >= own) for turn, said in enumerate(trajectory.turns) for call in said.tool_calls]
        calls = [call for call, _ in made]
        kinds = [None if call.ok else call.error_kind or "unknown" for call in calls]
        real = [call.name for call, kind in zip(calls, kinds, strict=True) if kind not in UNREAD]
        self.add_rows(
            loads=[sum(len(turn.tool_calls) for turn in trajectory.turns) for trajectory in trajectories],
            tools=[key(call.name) for call in calls],
            kinds=[NOTHING if kind is None else key(kind) for kind in kinds],
            latencies=[call.latency for call in calls],
            truncated=[call.truncated for call in calls],
            executed=[here for _, here in made],
            tool_names=spelling(real),
            kind_names=spelling(kind for kind in kinds if kind is not None),
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        trajectories = len(self.column("loads"))
        tools, kinds, latencies = self.column("tools"), self.column("kinds"), self.column("latencies").double()
        here, failed = self.column("executed").bool(), kinds != NOTHING
        if not trajectories:
            return {}
        known, reasons = dictionary(self.column("tool_names")), dictionary(self.column("kind_names"))
        found: dict[str, Tensor | float] = {
            "calls": len(tools) / trajectories,
            "executed": here.sum(),
            "saved": (~here).sum(),
            "error_share": failed.double().mean(),
            "unknown_share": (~torch.isin(tools, torch.tensor(list(known), dtype=torch.int64))).double().mean(),
            "truncated_share": self.column("truncated").double().mean(),
            "latency_ms": 1000 * latencies.mean(),
            **{f"error_{reason}": (kinds == number).double().mean() for number, reason in reasons.items()},
        }
        for number, tool in known.items():
            called = tools == number
            found[f"calls_{tool}"] = called.sum() / trajectories
            found[f"success_{tool}"] = (~failed[called]).double().mean()
            for kind in kinds[called & failed].unique().tolist():
                found[f"error_{tool}_{reasons[kind]}"] = (kinds[called] == kind).double().mean()
            took = latencies[called & here & (latencies > 0)]
            for quantile in self.quantiles if len(took) else ():
                found[f"latency_p{100 * quantile:g}_ms_{tool}"] = 1000 * took.quantile(quantile)
        return found
