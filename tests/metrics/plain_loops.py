"""The numbers of rollouts on one rank by plain loops over trajectories, to measure the metrics by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import isfinite
from statistics import fmean, pstdev

from lightning_agentrl.types import Trajectory


def rewards(rollouts: Sequence[Trajectory]) -> dict[str, float]:
    """Of trajectories that all have a verdict."""
    groups, parts = defaultdict(list), defaultdict(list)
    for trajectory in rollouts:
        if isfinite(trajectory.reward.shaped):
            groups[trajectory.group].append(trajectory.reward.shaped)
        for name, value in trajectory.reward.components.items():
            parts[name].append(value)
    return {
        "reward/mean": fmean(reward for shaped in groups.values() for reward in shaped),
        "reward/success": fmean(trajectory.outcome >= 1 for trajectory in rollouts),
        "reward/group_std": fmean(pstdev(shaped) for shaped in groups.values()),
        **{f"reward/part_{name}": fmean(values) for name, values in parts.items()},
    }


def success_by(rollouts: Sequence[Trajectory], key: str) -> dict[str, float]:
    split = defaultdict(list)
    for trajectory in rollouts:
        split[trajectory.task.meta[key]].append(trajectory.outcome >= 1)
    return {f"val/success_{key}_{value}": fmean(found) for value, found in split.items()}


def lengths(rollouts: Sequence[Trajectory]) -> dict[str, float]:
    sizes = [sum(map(len, trajectory.segments)) for trajectory in rollouts]
    stops = Counter(trajectory.stop for trajectory in rollouts)
    return {
        "rollout/turns": fmean(len(trajectory.turns) for trajectory in rollouts),
        "rollout/tokens": fmean(sum(len(turn.action) for turn in trajectory.turns) for trajectory in rollouts),
        "rollout/generated_tokens": sum(count for trajectory in rollouts for _, count in trajectory.own_turns),
        "rollout/length": fmean(sizes),
        "rollout/length_max": max(sizes),
        "rollout/truncated_share": fmean(trajectory.stop.truncated for trajectory in rollouts),
        **{f"rollout/stop_{reason}": count / len(rollouts) for reason, count in stops.items()},
    }


def tools(rollouts: Sequence[Trajectory]) -> dict[str, float]:
    """Of trajectories that have calls."""
    calls = [call for trajectory in rollouts for turn in trajectory.turns for call in turn.tool_calls]
    executed = sum(len(turn.tool_calls) for trajectory in rollouts for turn, _ in trajectory.own_turns)
    errors = Counter(call.error_kind for call in calls if not call.ok)
    return {
        "tool/calls": len(calls) / len(rollouts),
        "tool/executed": executed,
        "tool/saved": len(calls) - executed,
        "tool/error_share": sum(errors.values()) / len(calls),
        "tool/truncated_share": fmean(call.truncated for call in calls),
        "tool/latency_ms": 1000 * fmean(call.latency for call in calls),
        **{f"tool/error_{kind}": count / len(calls) for kind, count in errors.items()},
    }
