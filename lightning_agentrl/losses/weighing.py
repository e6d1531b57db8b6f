"""Token weights of a whole optimizer step, so that its loss is one weighted sum however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from lightning_agentrl.losses.base import Aggregation, Divisor, aggregate
from lightning_agentrl.types import RolloutBatch


def weigh(
    steps: Sequence[Sequence[RolloutBatch]],
    mode: Aggregation,
    constant: float | None,
    all_sum: Callable[[Tensor], Tensor],
    *,
    divisor: Divisor = "trained",
    drop_idle: bool = True,
) -> list[list[RolloutBatch]]:
    """Write ``loss_weights``; then leave out rows whose every advantage is 0, since they cannot move a weight.

    Args:
        steps: optimizer steps of micro-batches with ``advantages`` and ``loss_mask``.
        mode: of aggregation.
        constant: its divisor, where it has one.
        all_sum: sums over ranks; called once.
        divisor: whether a row average is over rows with a trained token, or over all (APPO's 1/M, Eq. 8).
        drop_idle: off where another term of the loss, a KL, moves rows without credit.
    """
    counts = all_sum(torch.stack([_counts(step, divisor) for step in steps]))  # [S, 2] trained tokens and rows
    idle = _active if drop_idle else _whole
    return [
        [idle(_weighed(micro, mode, constant, tokens, rows)) for micro in step]
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
    return _some(micro, ((micro.advantages != 0) & micro.trainable).any(1))


def _whole(micro: RolloutBatch) -> RolloutBatch:
    """Without the rows that nothing trains."""
    return _some(micro, micro.trainable.any(1))


def _some(micro: RolloutBatch, keep: Bool[Tensor, " N"]) -> RolloutBatch:
    rows = keep.nonzero()[:, 0]
    return micro.select(rows if len(rows) else torch.zeros(1, dtype=torch.int64)).trim()


def _counts(step: Sequence[RolloutBatch], divisor: Divisor) -> Tensor:
    tokens = sum(int(micro.trainable.sum()) for micro in step)
    if divisor == "trained":
        rows = sum(int(micro.trainable.any(1).sum()) for micro in step)
    else:
        rows = sum(int((micro.trajectory_ids >= 0).sum()) for micro in step)  # fillers have none
    return torch.tensor([tokens, rows], dtype=torch.float64)
