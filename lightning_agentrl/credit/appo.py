"""APPO: rollouts against rollouts, branches against branches, and both on the tokens that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, one_rank
from lightning_agentrl.ops import owner_rows, pool_count, pool_index, standardize, turn_mean
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class APPO(CreditAssigner):
    """Â_base of the dual-group advantage (arXiv:2606.12384, Eq. 6); `FutureKLLoss` applies (1 + b·Â_fut) of Eq. 7.

    Initial rollouts and branches are standardised apart, and only initial rollouts are trained. Eq. 6 does not say how
    a branch touches a token, so there are three readings. ``tree``: the mean over all trajectories that contain the
    token, the rollout itself and those branches that left it later. ``code``, as released: the rollout's own value
    plus the mean over those branches. ``literal``: the rollout's reward standardised in either group and averaged, the
    same for all tokens. Without branches each is GRPO with the population's standard deviation.

    Deviations: a group without variance adds 0. Which branches hold a token follows from what they inherited, so both
    of the paper's and the release's branch prefixes (without and with the chosen token) are credited right.
    """

    mode: Literal["tree", "code", "literal"] = "tree"
    """Reading of Eq. 6."""
    groups: Literal["dual", "single"] = "dual"
    """Standardise initial rollouts and branches apart, or together (the paper's ablation)."""
    ddof: int = 0
    """0: population standard deviation, as released; 1: sample."""
    eps: float = 1e-6
    """Added to the standard deviations."""

    def __post_init__(self) -> None:
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps)
        if self.mode == "literal" and self.groups == "single":
            raise ValueError("APPO.groups=single leaves nothing to average in mode=literal; use tree or code.")

    @property
    def requires(self) -> Signal:
        """Who branched off whom."""
        return Signal.PARENT_IDS

    @property
    def trains_branches(self) -> bool:
        """Only initial rollouts are trained."""
        return False

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Base credit of initial rollouts; branches only lend their rewards."""
        assert batch.parent_ids is not None
        branch = batch.parent_ids >= 0
        groups = pool_index(batch.group_ids)[0]
        pools = groups * 2 + branch if self.groups == "dual" else groups
        own = standardize(batch.rewards, pools, ddof=self.ddof, eps=self.eps)  # z, [N]
        base = own[:, None].expand(batch.input_ids.shape)
        if self.mode == "literal":
            among_branches = standardize(batch.rewards, groups, branch, ddof=self.ddof, eps=self.eps)
            has_branches = pool_count(groups, branch & batch.rewards.isfinite()) > 0
            base = torch.where(has_branches, (own + among_branches) / 2, own)[:, None].expand_as(base)
        else:
            total, count = self._branches(batch, own, branch)
            mean = total / count.clamp(min=1)
            known = batch.rewards.isfinite()[:, None]  # its own reward takes part in the mean
            base = base + mean if self.mode == "code" else (base + total) / (known + count).clamp(min=1)
        trained = batch.action_mask & ~branch[:, None]
        turns = batch.turn_mask.shape[1]
        outcome = torch.where(branch, torch.zeros_like(own), own)[:, None] * batch.turn_mask
        advantages = base * trained
        return Credit(
            advantages=advantages,
            loss_mask=trained,
            components={"outcome": outcome, "branches": turn_mean(advantages, batch.turn_ids, turns) - outcome},
            metrics={"branch_share": branch.to(own.dtype).mean()},
        )

    @staticmethod
    def _branches(
        batch: RolloutBatch, values: Float[Tensor, " N"], branch: Bool[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """For each token its branches' values added up, and their number: those that inherited it."""
        rows, width = batch.input_ids.shape
        owners = owner_rows(batch.trajectory_ids, batch.parent_ids, batch.inherited, width)
        lends = branch[:, None] & (owners != torch.arange(rows, device=owners.device)[:, None])
        lends = lends & batch.rewards.isfinite()[:, None]
        node = (owners * width + torch.arange(width, device=owners.device))[lends]
        lent = values[:, None].expand(rows, width)[lends]
        empty = values.new_zeros(rows * width)
        total, count = empty.index_add(0, node, lent), empty.index_add(0, node, torch.ones_like(lent))
        return total.view(rows, width), count.view(rows, width)
