"""Ask an assigner for credit, check its answer, and put it into the batch."""

from __future__ import annotations

from dataclasses import replace

from lightning_agentrl.credit.base import CreditAssigner, Reduce, identity
from lightning_agentrl.ops import group_range
from lightning_agentrl.types import RolloutBatch


def apply_credit(
    assigner: CreditAssigner, batch: RolloutBatch, all_sum: Reduce = identity
) -> tuple[RolloutBatch, dict[str, float]]:
    """The batch with advantages, clip scale, loss mask and components, and what can be said of them in numbers.

    Raises:
        ValueError: when the batch lacks a signal that the assigner declared, or the answer has the wrong shape.
    """
    name = type(assigner).__name__
    batch.require(assigner.requires, name)
    credit = assigner(batch, all_sum=all_sum)
    if credit.advantages.shape != batch.input_ids.shape:
        raise ValueError(
            f"{name} must return advantages of shape {tuple(batch.input_ids.shape)}, got "
            f"{tuple(credit.advantages.shape)}."
        )
    mask = batch.action_mask if credit.loss_mask is None else credit.loss_mask & batch.action_mask
    trained = credit.advantages[mask]
    flat = group_range(batch.outcomes, batch.group_ids) <= 0
    metrics = {
        "credit/advantage_mean": float(trained.mean()) if trained.numel() else 0.0,
        "credit/advantage_std": float(trained.std(correction=0)) if trained.numel() else 0.0,
        "credit/nonzero_share": float((trained != 0).float().mean()) if trained.numel() else 0.0,
        "credit/zero_variance_share": float(flat.float().mean()),
        **{f"credit/{key}": float(value) for key, value in credit.metrics.items()},
    }
    credited = replace(
        batch,
        advantages=credit.advantages.detach(),
        clip_scale=credit.clip_scale,
        loss_mask=mask,
        components=credit.components,
    )
    return credited, metrics
