"""Numbers about a collection, for the logger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import fmean, pstdev

import torch
from torch import Tensor

from lightning_agentrl.types import RolloutBatch, Trajectory

TOTALS = frozenset(
    {
        "rollout/generated_tokens",
        "rollout/dropped_groups",
        "rollout/rebuilt_episodes",
        "val/dropped_groups",
        "rollout/tokens_per_second",
        "tool/executed",
        "tool/saved",
        *(f"credit/{name}" for name in ("invalid_rewards", "lone_rollouts", "empty_actions", "missing_gains")),
        "credit/invalid_entropies",
    }
)
"""Numbers of a rank that add up over ranks."""


def collected(
    trajectories: Sequence[Trajectory],
    batch: RolloutBatch,
    seconds: Mapping[str, float],
    failures: Mapping[str, float],
) -> dict[str, float]:
    """Everything about a training collection, under its logged names.

    Args:
        trajectories: all that were rolled out.
        batch: what is trained on.
        seconds: by phase.
        failures: counts of `Failures`.
    """
    return {
        **summarize(trajectories, seconds["rollout"]),
        **shaped(batch),
        **{f"rollout/{name}": value for name, value in failures.items()},
        **{f"time/{name}": value for name, value in seconds.items()},
    }


def shaped(batch: RolloutBatch) -> dict[str, float]:
    """Mean of what is trained on: rewards after shaping."""
    known = batch.rewards[batch.rewards.isfinite()]
    return {"reward/shaped_mean": float(known.mean()) if len(known) else 0.0}


def summarize(trajectories: Sequence[Trajectory], seconds: float = 0.0) -> dict[str, float]:
    """Rewards, lengths, stops and tools of one collection that took ``seconds``, under their logged names."""
    outcomes = [trajectory.outcome for trajectory in trajectories]
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for trajectory in trajectories:
        reward = trajectory.reward.shaped if trajectory.reward else 0.0
        if isfinite(reward):  # what is not is counted with the credit, and must not hide the others' mean
            groups[trajectory.group].append(reward)
    shaped = [reward for rewards in groups.values() for reward in rewards]
    actions = [sum(len(turn.action) for turn in trajectory.turns) for trajectory in trajectories]
    generated = sum(count for trajectory in trajectories for _, count in trajectory.own_turns)
    lengths = [sum(map(len, trajectory.segments)) for trajectory in trajectories]
    return {
        "reward/mean": fmean(shaped or [0.0]),
        "reward/success": fmean(outcome >= 1 for outcome in outcomes),
        "reward/group_std": fmean([pstdev(rewards) for rewards in groups.values()] or [0.0]),
        "rollout/turns": fmean(len(trajectory.turns) for trajectory in trajectories),
        "rollout/tokens": fmean(actions),
        "rollout/generated_tokens": float(generated),
        "rollout/tokens_per_second": generated / max(seconds, 1e-9),
        "rollout/length": fmean(lengths),
        "rollout/length_max": float(max(lengths)),
        "rollout/truncated_share": fmean(trajectory.stop.truncated for trajectory in trajectories),
        "rollout/prompt_cache_share": _cache_share(trajectories),
        **{f"rollout/stop_{reason}": share for reason, share in stop_shares(trajectories).items()},
        **{f"reward/part_{name}": value for name, value in parts(trajectories).items()},
        **_tools(trajectories),
        **_branches(trajectories),
    }


def over_ranks(numbers: Mapping[str, float]) -> dict[str, float]:
    """One number per name for all ranks: the sum of totals, the extreme of extremes, otherwise the mean.

    Over the ranks that have the number, since that depends on what they saw. Every rank calls this.
    """
    ranks: list[Mapping[str, float] | None] = [numbers]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        ranks = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(ranks, dict(numbers))
    held = [rank for rank in ranks if rank]
    names = sorted({name for rank in held for name in rank})
    return {name: _joined(name, [rank[name] for rank in held if name in rank]) for name in names}


def _joined(name: str, values: Sequence[float]) -> float:
    if name in TOTALS:
        return sum(values)
    extremes: dict[str, Callable[[Sequence[float]], float]] = {"max": max, "min": min}
    return extremes.get(name.rsplit("_", 1)[-1], fmean)(values)


def stop_shares(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Share of trajectories per stop reason that occurred."""
    counts = Counter(str(trajectory.stop) for trajectory in trajectories)
    return {reason: count / len(trajectories) for reason, count in sorted(counts.items())}


def parts(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Mean of each part of the verdicts, unweighted, over the trajectories that have it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for trajectory in trajectories:
        for name, value in (trajectory.reward.components if trajectory.reward else {}).items():
            if isfinite(value):
                found[name].append(value)
    return {name: fmean(values) for name, values in sorted(found.items())}


def success_by(trajectories: Sequence[Trajectory], key: str) -> dict[str, float]:
    """Success split by a value in the tasks' meta data; tasks without it are left out."""
    split: defaultdict[str, list[bool]] = defaultdict(list)
    for trajectory in trajectories:
        if key in trajectory.task.meta:
            split[str(trajectory.task.meta[key])].append(trajectory.outcome >= 1)
    return {value: fmean(successes) for value, successes in sorted(split.items())}


def validation_numbers(trajectories: Sequence[Trajectory], key: str, failures: Mapping[str, float]) -> dict[str, float]:
    """Success split by a value in the tasks' meta data, shares of stop reasons, and more, under their logged names."""
    return {
        "val/dropped_groups": failures["dropped_groups"],
        **{f"val/success_{key}_{value}": success for value, success in success_by(trajectories, key).items()},
        **{f"val/stop_{reason}": share for reason, share in stop_shares(trajectories).items()},
        **{f"val/part_{name}": value for name, value in parts(trajectories).items()},
    }


def validation_means(batch: RolloutBatch) -> dict[str, Tensor]:
    """Numbers of validation rollouts whose mean is logged, each [N]."""
    return {
        "reward": batch.rewards,
        "turns": batch.turn_mask.sum(1).float(),
        "tool_turns": batch.process_mask.sum(1).float(),
        "truncated": batch.truncated.float(),
        "tokens": batch.action_mask.sum(1).float(),
    }


def _cache_share(trajectories: Sequence[Trajectory]) -> float:
    """Share of the prompt tokens of all requests that the engine had cached."""
    asked = cached = 0
    for trajectory in trajectories:
        first = _first_own_turn(trajectory)
        position = len(trajectory.prompt)
        for number, turn in enumerate(trajectory.turns):
            if number >= first:
                asked += max(position, trajectory.inherited)
                cached += turn.cached_tokens
            position += len(turn.action) + (len(turn.observation) if turn.observation else 0)
    return cached / asked if asked else 0.0


def _branches(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """How many trajectories branched off others, at what depth, and where; nothing without branches."""
    parents = {trajectory.id: trajectory.origin.parent for trajectory in trajectories if trajectory.origin}
    if not parents:
        return {}

    def depth(id: int) -> int:
        return depth(parents[id]) + 1 if id in parents else 0

    depths = [depth(trajectory.id) for trajectory in trajectories]
    branches = [trajectory for trajectory in trajectories if trajectory.origin]
    return {
        "branch/share": len(branches) / len(trajectories),
        "branch/depth": fmean(depths),
        "branch/depth_max": float(max(depths)),
        "branch/turn": fmean(_first_own_turn(branch) for branch in branches),
        "branch/inherited_share": fmean(branch.inherited / sum(map(len, branch.segments)) for branch in branches),
    }


def _first_own_turn(trajectory: Trajectory) -> int:
    return len(trajectory.turns) - sum(1 for _ in trajectory.own_turns)


def _tools(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    calls = [call for trajectory in trajectories for turn in trajectory.turns for call in turn.tool_calls]
    executed = sum(len(turn.tool_calls) for trajectory in trajectories for turn, _ in trajectory.own_turns)
    if not calls:
        return {"tool/calls": 0.0, "tool/executed": 0.0, "tool/saved": 0.0}
    errors = Counter(call.error_kind or "unknown" for call in calls if not call.ok)
    return {
        "tool/calls": len(calls) / len(trajectories),
        "tool/executed": float(executed),
        "tool/saved": float(len(calls) - executed),
        "tool/error_share": sum(errors.values()) / len(calls),
        "tool/truncated_share": fmean(call.truncated for call in calls),
        "tool/latency_ms": 1000 * fmean(call.latency for call in calls),
        **{f"tool/error_{kind}": count / len(calls) for kind, count in sorted(errors.items())},
    }
