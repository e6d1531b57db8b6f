"""What credit looks like over the turns of a trajectory, whatever the assigner."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.metrics.table import Table
from lightning_agentrl.ops import masked_sum, standardize, turn_mean, turn_sum
from lightning_agentrl.types import RolloutBatch


class CreditStatistics(Table):
    """Where in a trajectory credit falls, and whether it goes with the outcome.

    The credit of a turn is the mean over its trained tokens; turns without one are no part of anything.

    ``nonzero_turn_share``
        share of turns whose credit is not 0.
    ``turn_share_entropy``
        mean over rows of −Σ p log p in nats, where p is a turn's share of the row's |credit|: 0 where one turn has it
        all. Rows of one turn, or without credit, are left out.
    ``turn_evenness``
        the same divided by the log of the row's number of turns: 1 where all turns have equal |credit|, as in GRPO.
    ``sign_agreement``
        share of turns with credit that was positive where the outcome was above the mean of its group, and negative
        where it was below. 1 for a pure outcome reward; rows with the mean outcome are left out.
    ``turn_length_correlation``
        Pearson's, of a turn's credit with its number of trained tokens; left out where one of them does not vary.
    """

    columns: ClassVar = {
        "credits": torch.float32,  # per turn
        "turn_lengths": torch.int64,
        "agreements": torch.float32,  # 1 or 0; NaN without a sign to agree with
        "entropies": torch.float32,  # per row with several turns and credit
        "evenness": torch.float32,
    }

    def __init__(self, section: str = "credit") -> None:
        super().__init__(section)

    def update(self, batch: RolloutBatch) -> None:
        """Add rollouts with credit; an update holds whole groups.

        Raises:
            ValueError: when the batch has no advantages.
        """
        if batch.advantages is None:
            raise ValueError("CreditStatistics needs advantages, and this batch has none; assign credit first.")
        ids, turns = torch.where(batch.trainable, batch.turn_ids, -1), batch.turn_mask.shape[1]
        lengths = turn_sum(torch.ones_like(ids), ids, turns)
        credits = turn_mean(batch.advantages.detach().float(), ids, turns)  # [N, K]
        trained = lengths > 0
        # Exactly 0 in a group of equal outcomes, where there is no better and worse.
        direction = standardize(batch.outcomes, batch.group_ids, ddof=0, scale=False).sign()[:, None]
        signs = credits.sign() * direction
        agreements = torch.where(signs == 0, torch.nan, (signs > 0).float())
        entropy = _entropy(credits.abs(), trained)
        several = (trained.sum(1) > 1) & (masked_sum(credits.abs(), trained, 1) > 0)
        self.add_rows(
            credits=credits[trained],
            turn_lengths=lengths[trained],
            agreements=agreements[trained],
            entropies=entropy[several],
            evenness=(entropy / trained.sum(1).log())[several],
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        credits, agreements = self.column("credits").double(), self.column("agreements")
        return {
            "nonzero_turn_share": (credits != 0).double().mean(),
            "turn_share_entropy": self.column("entropies").double().mean(),
            "turn_evenness": self.column("evenness").double().mean(),
            "sign_agreement": agreements.nanmean(),
            "turn_length_correlation": _correlation(credits, self.column("turn_lengths").double()),
        }


def _entropy(weights: Float[Tensor, "N K"], mask: Tensor) -> Float[Tensor, " N"]:
    """Entropy of each row's weights in nats, made to sum to 1; 0 for a row of zeros."""
    kept = torch.where(mask, weights, 0)
    shares = kept / kept.sum(1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum(1)
    return entropy


def _correlation(credits: Float[Tensor, " M"], lengths: Float[Tensor, " M"]) -> Tensor:
    """Pearson's correlation; NaN where one side does not vary: float64 has the exact mean of equal float32 numbers."""
    a, b = credits - credits.mean(), lengths - lengths.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()
