"""Token weights of a whole optimizer step, so that its loss is one weighted sum however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_agentrl.losses.base import Aggregation, aggregate
from lightning_agentrl.types import RolloutBatch


def weigh(
    steps: Sequence[Sequence[RolloutBatch]],
    mode: Aggregation,
    constant: float | None,
    all_sum: Callable[[Tensor], Tensor],
) -> list[list[RolloutBatch]]:
    """Write ``loss_weights``; then leave out rows whose every advantage is 0, since they cannot move a weight.

    Args:
        steps: optimizer steps of micro-batches with ``advantages`` and ``loss_mask``.
        mode: of aggregation.
        constant: its divisor, where it has one.
        all_sum: sums over ranks; called once.
    """
    counts = all_sum(torch.stack([_counts(step) for step in steps]))  # [S, 2] trained tokens and rows
    return [
        [_active(_weighed(micro, mode, constant, tokens, rows)) for micro in step]
        for step, (tokens, rows) in zip(steps, counts, strict=True)
    ]


def _weighed(
    micro: RolloutBatch, mode: Aggregation, constant: float | None, tokens: Tensor, rows: Tensor
) -> RolloutBatch:
    assert micro.loss_mask is not None
    return replace(micro, loss_weights=aggregate(micro.loss_mask, mode, tokens=tokens, rows=rows, constant=constant))


def _active(micro: RolloutBatch) -> RolloutBatch:
    """At least one row stays: every rank must run the same number of forwards."""
    assert micro.advantages is not None
    rows = (micro.advantages != 0).any(1).nonzero()[:, 0]
    return micro.select(rows if len(rows) else torch.zeros(1, dtype=torch.int64)).trim()


def _counts(step: Sequence[RolloutBatch]) -> Tensor:
    masks = [micro.loss_mask for micro in step if micro.loss_mask is not None]
    tokens = sum(int(mask.sum()) for mask in masks)
    rows = sum(int(mask.any(1).sum()) for mask in masks)
    return torch.tensor([tokens, rows], dtype=torch.float64)
