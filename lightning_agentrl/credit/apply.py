"""Ask an assigner for credit, check its answer, and put it into the batch."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, one_rank
from lightning_agentrl.credit.diagnostics import describe
from lightning_agentrl.types import Credit, RolloutBatch


def apply_credit(
    assigner: CreditAssigner, batch: RolloutBatch, all_reduce: Reduce = one_rank
) -> tuple[RolloutBatch, dict[str, float]]:
    """The batch with advantages, clip scale, loss mask and components, and what can be said of them in numbers.

    What is trained is what the assigner and, where it is set beforehand, the batch's own ``loss_mask`` allow.

    Raises:
        ValueError: when the batch lacks a signal that the assigner declared, or the answer has a wrong shape or is not
            finite.
    """
    name = type(assigner).__name__
    _require(assigner, batch)
    credit = assigner(batch, all_reduce=all_reduce)
    _check(credit, batch, name)
    mask = batch.trainable if credit.loss_mask is None else credit.loss_mask & batch.trainable
    credited = replace(
        batch,
        advantages=credit.advantages.detach(),
        clip_scale=credit.clip_scale,
        loss_mask=mask,
        offered_mask=batch.trainable,
        components=credit.components,
    )
    numbers = {**describe(credited), **credit.metrics}
    return credited, {f"credit/{key}": float(value) for key, value in numbers.items()}


def uncredited(batch: RolloutBatch) -> RolloutBatch:
    """The batch as it was before `apply_credit`, for another assigner to be asked."""
    return replace(
        batch, advantages=None, clip_scale=None, loss_mask=batch.offered_mask, offered_mask=None, components={}
    )


def _require(assigner: CreditAssigner, batch: RolloutBatch) -> None:
    """What is missing is named by the innermost assigner that declared it."""
    if assigner.wrapped is not None:
        _require(assigner.wrapped, batch)
    batch.require(assigner.requires, type(assigner).__name__)


def _check(credit: Credit, batch: RolloutBatch, name: str) -> None:
    tokens, turns = tuple(batch.input_ids.shape), tuple(batch.turn_mask.shape)
    parts: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "advantages": (credit.advantages, tokens),
        "clip_scale": (credit.clip_scale, tokens),
        "loss_mask": (credit.loss_mask, tokens),
        **{f"components[{key!r}]": (value, turns) for key, value in credit.components.items()},
    }
    for part, (value, shape) in parts.items():
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{name} must return {part} of shape {shape}, got {tuple(value.shape)}.")
        if value is not None and not bool(value.isfinite().all()):
            raise ValueError(
                f"{name} returned {part} with {int((~value.isfinite()).sum())} numbers that are NaN or infinite; leave "
                f"out what cannot be compared, as `ops.standardize` does."
            )
    if bool(credit.advantages[~batch.action_mask].any()):
        raise ValueError(f"{name} must return advantages that are 0 off the action mask; multiply with it.")
