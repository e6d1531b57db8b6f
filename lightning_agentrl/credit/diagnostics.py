"""What every assigner's credit looks like in numbers: a lint, because credit fails silently."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_agentrl.ops import masked_mean, pool_count, pool_extremes, pool_index, turn_mean, turn_sum
from lightning_agentrl.types import Metrics, RolloutBatch


def describe(batch: RolloutBatch) -> Metrics:
    """Numbers about a credited batch.

    ``advantage_mean``, ``advantage_std``
        over trained tokens.
    ``zero_credit_share``
        share of trained tokens whose credit is 0: they cost a forward and teach nothing.
    ``zero_variance_share``
        share of groups whose outcomes are all equal.
    ``length_correlation``
        of a row's mean credit with its number of trained tokens: far from 0, length is rewarded or punished.
    ``turn_k_mean``, ``turn_k_std``
        over the rows that have a trained turn k (counted from 1). A mean far from 0 is a bonus for having such a turn.
    ``invalid_rewards``
        number of rows whose reward is NaN or infinite; they earn 0.
    ``lone_rollouts``
        number of rows that are alone in their group; no baseline can be had for them.
    ``empty_actions``
        number of turns in which the policy said nothing.
    """
    assert batch.advantages is not None
    assert batch.loss_mask is not None
    advantages, mask = batch.advantages, batch.loss_mask
    mean = masked_mean(advantages, mask)
    rows = masked_mean(advantages, mask, 1)
    return {
        "advantage_mean": mean,
        "advantage_std": masked_mean((advantages - mean) ** 2, mask).sqrt(),
        "zero_credit_share": masked_mean((advantages == 0).to(advantages.dtype), mask),
        "zero_variance_share": zero_variance_share(batch),
        "length_correlation": correlation(rows[mask.any(1)], mask.sum(1).to(rows.dtype)[mask.any(1)]),
        **_turns(batch),
        "invalid_rewards": (~batch.rewards.isfinite()).sum(),
        "lone_rollouts": (pool_count(batch.group_ids) == 1).sum(),
        "empty_actions": (batch.turn_mask & ~_spoken(batch.turn_ids, batch.turn_mask.shape[1])).sum(),
    }


def zero_variance_share(batch: RolloutBatch) -> Tensor:
    """Share of groups whose finite outcomes are all equal."""
    index, count = pool_index(batch.group_ids)
    low, high = pool_extremes(batch.outcomes, index, batch.outcomes.isfinite())
    informative = torch.zeros(count, dtype=torch.bool, device=index.device)
    informative[index[high > low]] = True
    return (~informative).float().mean()


def correlation(a: Float[Tensor, " M"], b: Float[Tensor, " M"]) -> Tensor:
    """Pearson's correlation; 0 where one side does not vary."""
    if len(a) < 2 or bool(a.max() == a.min()) or bool(b.max() == b.min()):
        return a.new_zeros(())
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt().clamp(min=1e-30)


def _turns(batch: RolloutBatch) -> Metrics:
    assert batch.advantages is not None
    assert batch.loss_mask is not None
    ids, turns = torch.where(batch.loss_mask, batch.turn_ids, -1), batch.turn_mask.shape[1]
    credit = turn_mean(batch.advantages, ids, turns)  # [N, K]
    has = _spoken(ids, turns)
    means = masked_mean(credit, has, 0)
    spreads = masked_mean((credit - means) ** 2, has, 0).sqrt()
    numbers: Metrics = {}
    for turn in range(turns):
        if bool(has[:, turn].any()):
            numbers |= {f"turn_{turn + 1}_mean": means[turn], f"turn_{turn + 1}_std": spreads[turn]}
    return numbers


def _spoken(turn_ids: Int[Tensor, "N T"], turns: int) -> Bool[Tensor, "N K"]:
    """Turns that have a token."""
    return turn_sum(torch.ones_like(turn_ids), turn_ids, turns) > 0
