"""ARPO: a group baseline over a tree of rollouts, with two ways to credit what branches share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, one_rank
from lightning_agentrl.ops import owner_rows, standardize, turn_mean
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class ARPO(CreditAssigner):
    """z(R) over all leaves of a prompt, roots and branches alike (arXiv:2507.19849, §3.2).

    ``soft``, the paper's default and the released code: every leaf keeps its own z on all its tokens, inherited ones
    included, which is GRPO. ``hard``: a token shared by d leaves earns the mean of their d values. Inside the clip
    range and with ``aggregation: token-mean`` the two give the same gradient; outside of it, or with sequence-mean,
    they do not. The code for ``hard`` was never released.

    Deviations: a group without variance earns exactly 0. ``prefix_weight="one"`` is ours.
    """

    credit: Literal["soft", "hard"] = "soft"
    """What a shared token earns."""
    prefix_weight: Literal["descendants", "one"] = "descendants"
    """With hard credit: a token shared by d leaves counts d times in the loss, or once."""
    ddof: int = 1
    """1: sample standard deviation, as released; 0: population."""
    eps: float = 1e-6
    """Added to the standard deviation."""

    def __post_init__(self) -> None:
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps)
        if self.credit == "soft" and self.prefix_weight == "one":
            raise ValueError("ARPO.prefix_weight=one is read with credit=hard only; soft credit trains every copy.")

    @property
    def requires(self) -> Signal:
        """Who branched off whom."""
        return Signal.PARENT_IDS

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Outcome credit; shared tokens soft or hard."""
        outcome = standardize(batch.rewards, batch.group_ids, ddof=self.ddof, eps=self.eps)[:, None]  # [N, 1]
        advantages, mask = outcome * batch.action_mask, None
        if self.credit == "hard":
            width = batch.input_ids.shape[1]
            owners = owner_rows(batch.trajectory_ids, batch.parent_ids, batch.inherited, width)
            node = (owners * width + torch.arange(width, device=owners.device)).flatten()  # one name per distinct token
            total = advantages.new_zeros(node.numel()).index_add(0, node, advantages.flatten())
            leaves = torch.zeros_like(total).index_add(0, node, batch.action_mask.flatten().to(total.dtype))
            advantages = (total / leaves.clamp(min=1))[node].view_as(advantages) * batch.action_mask
            if self.prefix_weight == "one":
                mask = self._trained_once(batch, owners, node)
        turns = batch.turn_mask.shape[1]
        return Credit(
            advantages=advantages,
            loss_mask=mask,
            components={"outcome": turn_mean(advantages, batch.turn_ids, turns)},
        )

    @staticmethod
    def _trained_once(batch: RolloutBatch, owners: Int[Tensor, "N T"], node: Int[Tensor, " NT"]) -> Bool[Tensor, "N T"]:
        """One row for each distinct token: that which sampled it, or another holder where that may not be trained."""
        rows = torch.arange(len(batch), device=owners.device)[:, None]
        order = batch.trajectory_ids.argsort().argsort()[:, None] + 1
        turn = torch.where(owners == rows, torch.zeros_like(owners), order.expand_as(owners)).flatten()
        last = torch.full_like(node, len(batch) + 1)
        turn = torch.where(batch.trainable.flatten(), turn, last)
        first = last.scatter_reduce(0, node, turn, "amin")
        return (turn == first[node]).view_as(owners) & batch.trainable
