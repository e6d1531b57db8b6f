"""Numbers about a collection, for the logger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_agentrl.metrics import (
    CreditStatistics,
    EngineMismatch,
    GroupStd,
    MajorityAtK,
    PassAtK,
    PassHatK,
    StopReasons,
    SuccessBy,
    ToolSuccess,
    Truncation,
    Turns,
    VerdictParts,
    Verdicts,
    ZeroVarianceShare,
)
from lightning_agentrl.types import RolloutBatch, Trajectory

TOTALS = frozenset(
    {
        "rollout/dropped_groups",
        "rollout/rebuilt_episodes",
        "val/dropped_groups",
        "rollout/tokens_per_second",
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
    device: torch.device,
) -> dict[str, float]:
    """Everything about a training collection, under its logged names. Every rank calls this.

    Args:
        trajectories: all that were rolled out.
        batch: what is trained on.
        seconds: by phase.
        failures: counts of `Failures`.
        device: of this rank, where numbers are exchanged.
    """
    rolled_out = [
        Verdicts(),
        VerdictParts(),
        GroupStd(),
        ZeroVarianceShare(),
        Turns(),
        Truncation(),
        StopReasons(),
        ToolSuccess(),
    ]
    scored = batch.old_logprobs is not None or batch.current_logprobs is not None
    trained = [CreditStatistics(), *([EngineMismatch()] if scored else [])]
    return {
        **_measured(MetricCollection(rolled_out), trajectories, device),
        **_measured(MetricCollection(trained), batch, device),
        **local(trajectories, seconds["rollout"]),
        **shaped(batch),
        **entropy(batch),
        **{f"rollout/{name}": value for name, value in failures.items()},
        **{f"time/{name}": value for name, value in seconds.items()},
    }


def validated(
    trajectories: Sequence[Trajectory],
    success_by: str,
    failures: Mapping[str, float],
    seconds: float,
    device: torch.device,
) -> dict[str, float]:
    """Everything about validation rollouts, under its logged names. Every rank calls this.

    Args:
        trajectories: all of this rank.
        success_by: key of the tasks' meta data by which success is split.
        failures: counts of `Failures`.
        seconds: that they took.
        device: of this rank, where numbers are exchanged.
    """
    metrics = [
        PassAtK(),
        PassHatK(),
        MajorityAtK(),
        SuccessBy(success_by),
        VerdictParts("val"),
        StopReasons("val"),
        ToolSuccess("val/tool"),
    ]
    return {
        **_measured(MetricCollection(metrics), trajectories, device),
        "val/dropped_groups": failures["dropped_groups"],
        "val/seconds": seconds,
    }


def _measured(
    metrics: MetricCollection, rollouts: Sequence[Trajectory] | RolloutBatch, device: torch.device
) -> dict[str, float]:
    metrics.to(device).update(rollouts)
    return {name: float(value) for name, value in metrics.compute().items()}


def shaped(batch: RolloutBatch) -> dict[str, float]:
    """Mean of what is trained on: rewards after shaping."""
    known = batch.rewards[batch.rewards.isfinite()]
    return {"reward/shaped_mean": float(known.mean()) if len(known) else 0.0}


def entropy(batch: RolloutBatch) -> dict[str, float]:
    """Entropy of the policy per token, in nats: mean of −log π over the tokens that it sampled, which is unbiased.

    At the rollout temperature, and without what branches inherited. Nothing without a token.
    """
    mask = batch.action_mask
    if batch.inherited is not None:
        mask = mask & (torch.arange(mask.shape[1], device=mask.device) >= batch.inherited[:, None])
    sampled = batch.sampling_logprobs[mask]
    return {"policy/entropy": -float(sampled.double().mean())} if len(sampled) else {}


def local(trajectories: Sequence[Trajectory], seconds: float = 0.0) -> dict[str, float]:
    """Speed, cache and branches of this rank's share of a collection that took ``seconds``."""
    generated = sum(count for trajectory in trajectories for _, count in trajectory.own_turns)
    return {
        "rollout/tokens_per_second": generated / max(seconds, 1e-9),
        "rollout/prompt_cache_share": _cache_share(trajectories),
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


def validation_means(batch: RolloutBatch) -> dict[str, Tensor]:
    """Numbers of validation rollouts whose mean is logged, each [N]."""
    return {
        "success": (batch.outcomes >= 1).float(),
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
