"""MT-GRPO: a reward for the turn beside the reward for the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, discount, one_rank
from lightning_agentrl.ops import masked_mean, owned_turns, per_token, pool_index, standardize, suffix_sum
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class MTGRPO(CreditAssigner):
    """Outcome and turn rewards, standardised apart, then added (arXiv:2505.11821).

    ``two-turn`` is the paper's form. With A_T = z(reward of the first turn) and A_O = z(R), both over the group, tokens
    up to the first tool result earn A_O + c·A_T and later ones A_O; what later turns were given is not read. A rollout
    without a tool call earns z(first turn's reward + R) on every token; its share is logged, since it mixes two scales.

    ``k-turn`` is our own generalisation to any number of turns: turn t earns z(R) + c·Σ_{l≥t} γ^{l−t} z_l, where z_l
    compares the rewards of turn l over the siblings that have such a turn (fewer than two: 0).

    A turn's penalty is subtracted from its reward.

    Deviations: none in ``two-turn``; a group without variance earns exactly 0.
    """

    form: Literal["two-turn", "k-turn"] = "two-turn"
    """The paper's form, or ours for any number of turns."""
    turn_weight: float = 1.0
    """c: weight of the turn rewards."""
    gamma: float = 1.0
    """Discount per turn in ``k-turn``, in [0, 1]; must stay 1 in ``two-turn``, which has nothing to discount."""
    ddof: int = 1
    """1: sample standard deviation; 0: population."""
    eps: float = 1e-4
    """Added to the standard deviations."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps)
        if self.form == "two-turn" and self.gamma != 1:
            raise ValueError(f"MTGRPO.gamma is read in form=k-turn only; got gamma={self.gamma} with form=two-turn.")

    @property
    def requires(self) -> Signal:
        """Turn rewards."""
        return Signal.TURN_REWARDS

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Outcome plus turn credit."""
        assert batch.turn_rewards is not None
        rewards = batch.turn_rewards
        if batch.turn_penalties is not None:
            rewards = rewards - batch.turn_penalties
        outcome = self._compare(batch.rewards, batch.group_ids)[:, None].expand(batch.turn_mask.shape)  # [N, K]
        calls = batch.process_mask.any(1)
        if self.form == "two-turn":
            first = rewards[:, 0]
            turn = torch.zeros_like(rewards)
            turn[:, 0] = self.turn_weight * self._compare(first, batch.group_ids)
            turn = torch.where(calls[:, None], turn, torch.zeros_like(turn))
            mixed = self._compare(batch.rewards + first, batch.group_ids)[:, None]
            outcome = torch.where(calls[:, None], outcome, mixed)
        else:
            turn = self.turn_weight * suffix_sum(self._turns(batch, rewards), self.gamma)
        outcome, turn = outcome * batch.turn_mask, turn * batch.turn_mask
        return Credit(
            advantages=per_token(outcome + turn, batch.turn_ids),
            components={"outcome": outcome, "turn reward": turn},
            metrics={
                "no_call_share": 1 - calls.float().mean(),
                "rewarded_turn_share": masked_mean((rewards != 0).to(outcome.dtype), batch.turn_mask),
            },
        )

    def _turns(self, batch: RolloutBatch, rewards: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        count = rewards.shape[1]
        pools = pool_index(batch.group_ids)[0][:, None] * count + torch.arange(count, device=rewards.device)
        counted = batch.turn_mask & owned_turns(batch.turn_ends, batch.inherited)
        return self._compare(rewards.flatten(), pools.flatten(), counted.flatten()).view_as(rewards) * batch.turn_mask

    def _compare(self, values: Tensor, ids: Tensor, counted: Tensor | None = None) -> Tensor:
        return standardize(values, ids, counted, ddof=self.ddof, eps=self.eps)
