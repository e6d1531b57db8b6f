"""Masked, per-turn and per-group reductions. Shapes as in `types`; nothing here knows what a policy is."""

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


def group_index(group_ids: Int[Tensor, " N"]) -> tuple[Int[Tensor, " N"], int]:
    """Groups numbered 0…P−1, and P."""
    names, index = group_ids.unique(return_inverse=True)
    return index, int(names.numel())


def group_sum(values: Float[Tensor, " N"], group_ids: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Sum over the row's group, given back to each row."""
    index, count = group_index(group_ids)
    return values.new_zeros(count).index_add(0, index, values)[index]


def group_mean(values: Float[Tensor, " N"], group_ids: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Mean over the row's group, given back to each row."""
    return group_sum(values, group_ids) / group_sum(torch.ones_like(values), group_ids)


def group_std(values: Float[Tensor, " N"], group_ids: Int[Tensor, " N"], ddof: int = 1) -> Float[Tensor, " N"]:
    """Standard deviation over the row's group, given back to each row; 0 for a group of ``ddof`` rows or fewer."""
    sizes = group_sum(torch.ones_like(values), group_ids)
    squares = group_sum((values - group_mean(values, group_ids)) ** 2, group_ids)
    spread = (squares / (sizes - ddof).clamp(min=1)).sqrt()
    return torch.where(sizes > ddof, spread, torch.zeros_like(spread))


def group_range(values: Float[Tensor, " N"], group_ids: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Max − min over the row's group, given back to each row: 0 means that the group carries no signal."""
    index, count = group_index(group_ids)
    empty = values.new_zeros(count)
    high = empty.scatter_reduce(0, index, values, "amax", include_self=False)
    low = empty.scatter_reduce(0, index, values, "amin", include_self=False)
    return (high - low)[index]
