"""Masked, per-turn, per-group and per-tree reductions. Shapes as in `types`; nothing here knows what a policy is."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def masked_sum(values: Tensor, mask: Bool[Tensor, ...], dim: int | None = None) -> Tensor:
    """Sum where ``mask``; what lies off the mask may be NaN or infinite."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(values: Tensor, mask: Bool[Tensor, ...], dim: int | None = None) -> Tensor:
    """Mean where ``mask``, 0 where nothing is."""
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(values, mask, dim) / count.clamp(min=1)


# --- turns ------------------------------------------------------------------------------------------------------


def turn_sum(values: Float[Tensor, "N T"], turn_ids: Int[Tensor, "N T"], turns: int) -> Float[Tensor, "N K"]:
    """Sum of a turn's tokens; tokens outside every turn (id −1) do not count, NaN included."""
    inside = turn_ids >= 0
    kept = torch.where(inside, values, torch.zeros_like(values))
    return values.new_zeros(values.shape[0], turns).scatter_add(1, turn_ids.clamp(min=0), kept)


def turn_mean(values: Float[Tensor, "N T"], turn_ids: Int[Tensor, "N T"], turns: int) -> Float[Tensor, "N K"]:
    """Mean over a turn's tokens, 0 for a turn without tokens."""
    counts = turn_sum(torch.ones_like(values), turn_ids, turns)
    return turn_sum(values, turn_ids, turns) / counts.clamp(min=1)


def per_token(values: Float[Tensor, "N K"], turn_ids: Int[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """Give every token its turn's value; 0 outside turns."""
    spread = values.gather(1, turn_ids.clamp(min=0))
    return torch.where(turn_ids >= 0, spread, torch.zeros_like(spread))


def suffix_sum(values: Float[Tensor, "N S"], gamma: float) -> Float[Tensor, "N S"]:
    """Σ_{j≥i} γ^{j−i} · values_j along the second dimension, in log₂ S steps instead of a loop or an S × S matrix."""
    total, shift = values, 1
    while shift < values.shape[1]:
        # What is summed up over `shift` columns so far is joined with the block of equal size behind it.
        behind = torch.nn.functional.pad(total[:, shift:], (0, shift))
        total = total + gamma**shift * behind
        shift *= 2
    return total


def masked_suffix_sum(values: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], gamma: float) -> Float[Tensor, "N T"]:
    """`suffix_sum` over the masked columns alone: γ counts them and steps over the others; 0 off the mask."""
    place = mask.long().cumsum(1) - 1  # of a masked column among its row's masked columns
    kept = torch.where(mask, values, torch.zeros_like(values))
    # Unmasked columns add 0 to the place of their predecessor.
    packed = torch.zeros_like(values).scatter_add(1, place.clamp(min=0), kept)
    back = suffix_sum(packed, gamma).gather(1, place.clamp(min=0))
    return torch.where(mask, back, torch.zeros_like(back))


# --- pools: groups of rows, or of turns -------------------------------------------------------------------------


def pool_index(ids: Int[Tensor, " M"]) -> tuple[Int[Tensor, " M"], int]:
    """Pools numbered 0…P−1, and P."""
    names, index = ids.unique(return_inverse=True)
    return index, int(names.numel())


def pool_sum(
    values: Float[Tensor, " M"], ids: Int[Tensor, " M"], counted: Bool[Tensor, " M"] | None = None
) -> Float[Tensor, " M"]:
    """Sum over the entry's pool, given back to each entry; only what is ``counted`` adds to it."""
    index, count = pool_index(ids)
    kept = values if counted is None else torch.where(counted, values, torch.zeros_like(values))
    return values.new_zeros(count).index_add(0, index, kept)[index]


def pool_count(ids: Int[Tensor, " M"], counted: Bool[Tensor, " M"] | None = None) -> Int[Tensor, " M"]:
    """Counted entries of the entry's pool."""
    ones = torch.ones_like(ids)
    return pool_sum(ones, ids, counted)


def pool_mean(
    values: Float[Tensor, " M"], ids: Int[Tensor, " M"], counted: Bool[Tensor, " M"] | None = None
) -> Float[Tensor, " M"]:
    """Mean over the entry's pool, given back to each entry; 0 where nothing is counted."""
    return pool_sum(values, ids, counted) / pool_count(ids, counted).clamp(min=1)


def pool_std(
    values: Float[Tensor, " M"], ids: Int[Tensor, " M"], counted: Bool[Tensor, " M"] | None = None, ddof: int = 1
) -> Float[Tensor, " M"]:
    """Standard deviation over the entry's pool, given back to each entry; 0 for ``ddof`` entries or fewer."""
    sizes = pool_count(ids, counted)
    squares = pool_sum((values - pool_mean(values, ids, counted)) ** 2, ids, counted)
    spread = (squares / (sizes - ddof).clamp(min=1)).sqrt()
    return torch.where(sizes > ddof, spread, torch.zeros_like(spread))


def pool_extremes(
    values: Float[Tensor, " M"], ids: Int[Tensor, " M"], counted: Bool[Tensor, " M"] | None = None
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Least and greatest counted entry of the entry's pool, given back to each entry; (∞, −∞) where there is none."""
    index, count = pool_index(ids)
    counted = torch.ones_like(ids, dtype=torch.bool) if counted is None else counted
    low = values.new_full((count,), torch.inf).scatter_reduce(0, index, torch.where(counted, values, torch.inf), "amin")
    high = values.new_full((count,), -torch.inf).scatter_reduce(
        0, index, torch.where(counted, values, -torch.inf), "amax"
    )
    return low[index], high[index]


def standardize(
    values: Float[Tensor, " M"],
    ids: Int[Tensor, " M"],
    counted: Bool[Tensor, " M"] | None = None,
    *,
    ddof: int,
    eps: float = 0.0,
    floor: float = 0.0,
    scale: bool = True,
) -> Float[Tensor, " M"]:
    """(value − mean of its pool) / (max(std of its pool, floor) + eps).

    Exactly 0 in a pool of one and in a pool of equal values. An entry that is NaN or infinite gets 0 and is no part of
    its pool.

    Args:
        values: to be compared inside their pools.
        ids: pool of each value.
        counted: which values make up mean and std; the others are measured against them.
        ddof: 1 for the sample standard deviation, 0 for the population's.
        eps: added to the standard deviation.
        floor: least standard deviation, so that rounding noise is not blown up to full size.
        scale: whether to divide at all.
    """
    finite = values.isfinite()
    counted = finite if counted is None else counted & finite
    clean = torch.where(finite, values, torch.zeros_like(values))
    centered = clean - pool_mean(clean, ids, counted)
    if scale:
        deviation = pool_std(clean, ids, counted, ddof).clamp(min=floor) + eps
        # Where there is nothing to divide by, what is divided is no information either; see below.
        centered = centered / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    # The mean of equal floats can differ from them by a rounding error, which a tiny std would blow up to ±1.
    low, high = pool_extremes(clean, ids, counted)
    return torch.where(finite & (high > low), centered, torch.zeros_like(centered))


# --- branches ---------------------------------------------------------------------------------------------------


def owner_rows(
    trajectory_ids: Int[Tensor, " N"],
    parent_ids: Int[Tensor, " N"] | None,
    inherited: Int[Tensor, " N"] | None,
    width: int,
) -> Int[Tensor, "N T"]:
    """Row in which each token was sampled: its own, or an ancestor's where the token was inherited.

    Raises:
        ValueError: when a branch's parent is not in the batch.
    """
    rows = torch.arange(len(trajectory_ids), device=trajectory_ids.device)
    owners = rows[:, None].expand(-1, width)
    if parent_ids is None or inherited is None or not bool((parent_ids >= 0).any()):
        return owners
    match = parent_ids[:, None] == trajectory_ids[None, :]  # [N, N] row j is the parent of row i
    orphans = (parent_ids >= 0) & ~match.any(1)
    if bool(orphans.any()):
        raise ValueError(
            f"Credit needs whole trees: the parents {parent_ids[orphans].tolist()} of "
            f"{trajectory_ids[orphans].tolist()} are not in the batch."
        )
    parents = match.long().argmax(1)
    columns = torch.arange(width, device=owners.device)[None]
    while True:
        climbs = (columns < inherited[owners]) & (parent_ids[owners] >= 0)
        if not bool(climbs.any()):
            return owners
        owners = torch.where(climbs, parents[owners], owners)


def owned_turns(turn_ends: Int[Tensor, "N K1"], inherited: Int[Tensor, " N"] | None) -> Bool[Tensor, "N K"]:
    """Turns that are not wholly copied from a parent, so that each distinct turn is counted once."""
    ends = turn_ends[:, 1:]
    if inherited is None:
        return torch.ones_like(ends, dtype=torch.bool)
    # A turn without an observation is a trajectory's last, and nobody branches behind it.
    return (ends < 0) | (ends > inherited[:, None])
