"""Settings of the objective that contradict each other, or that nothing would read."""

from __future__ import annotations

from lightning_agentrl.losses.base import Aggregation, Divisor, PolicyLoss

INERT = (
    "One optimizer step per collection: the ratio is exactly 1 and clipping is inert. Set data.minibatches or "
    "data.ppo_epochs above 1 to change that."
)
"""What to say of a clipping loss that cannot clip."""


def check_aggregation(aggregation: Aggregation, constant: float | None, rows: Divisor) -> None:
    """A divisor is read where something divides by it."""
    if aggregation != "constant" and constant is not None:
        raise ValueError(
            f"model.aggregation_constant is read with aggregation=constant only; got aggregation={aggregation} and "
            f"aggregation_constant={constant}."
        )
    if constant is not None and constant <= 0:
        raise ValueError(f"model.aggregation_constant must be positive, got {constant}.")
    if aggregation == "token-mean" and rows == "all":
        raise ValueError("model.aggregation_rows=all is read with aggregation=sequence-mean or constant only.")


def check_clip_scale(credit: str, scales_clip: bool, loss: PolicyLoss) -> None:
    """A clip range that credit scales must exist."""
    if scales_clip and not loss.reads_clip_scale:
        raise ValueError(
            f"{credit} scales the clip range of each turn, and {type(loss).__name__} has none; set its beta to 0 or "
            f"choose ClippedLoss."
        )
