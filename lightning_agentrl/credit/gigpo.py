"""GiGPO: trajectories against their siblings, and turns against other turns that started from the same state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, discount, one_rank
from lightning_agentrl.ops import owned_turns, per_token, pool_index, standardize, suffix_sum
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class GiGPO(CreditAssigner):
    """A = A_E + ω·A_S per turn (arXiv:2505.10978).

    A_E standardises the episode's return E = R + Σ turn rewards over the group. A_S standardises the discounted
    return D_t = r_t + γ·D_{t+1} over the turns of the group that answer the same observation, its anchor
    state (``state_keys``), whatever their trajectory and number. A turn's penalty is subtracted from its own E and D
    after discounting and does not spread. A state that occurs once gives A_S = 0.

    Deviations: ``statistics="trajectory"`` takes the mean and std of A_E over trajectories, as the paper writes it;
    the released code takes them over turns (``statistics="step"``), so that long trajectories weigh more. States are
    equal or not; the release's clusters of similar texts are left out. Where all episodes of a group are equal, A_E is
    0, penalties included; they still count in A_S.
    """

    step_weight: float = 1.0
    """ω: weight of A_S."""
    gamma: float = 0.95
    """Discount per turn inside D, in [0, 1]."""
    normalize_std: bool = True
    """Divide both parts by their standard deviation (sample)."""
    statistics: Literal["trajectory", "step"] = "trajectory"
    """Over what mean and std of A_E are taken."""
    eps: float = 1e-6
    """Added to the standard deviations."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        at_least(0, self, eps=self.eps)

    @property
    def requires(self) -> Signal:
        """Anchor states."""
        return Signal.STATE_KEYS

    @property
    def reads(self) -> Signal:
        """Turn rewards, which are part of the return."""
        return Signal.TURN_REWARDS

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Episode plus step credit."""
        assert batch.state_keys is not None
        exists = batch.turn_mask
        last = exists & (torch.arange(exists.shape[1], device=exists.device) == exists.sum(1, keepdim=True) - 1)
        given = batch.rewards.new_zeros(exists.shape) if batch.turn_rewards is None else batch.turn_rewards
        rewards = torch.where(exists, given, torch.zeros_like(given))
        rewards = rewards + torch.where(last, batch.rewards[:, None], torch.zeros_like(rewards))  # ρ, [N, K]
        penalties = torch.zeros_like(rewards) if batch.turn_penalties is None else batch.turn_penalties
        episode = rewards.sum(1, keepdim=True)  # E, [N, 1]; without turns there is no action to credit
        counted = exists & owned_turns(batch.turn_ends, batch.inherited)
        groups = pool_index(batch.group_ids)[0]
        a_episode = self._episodes(episode, episode - penalties, groups, counted) * exists

        states, count = pool_index(batch.state_keys.flatten())
        pools = groups.repeat_interleave(exists.shape[1]) * count + states
        returns = suffix_sum(rewards, self.gamma) - penalties  # D, [N, K]
        a_step = self._compare(returns.flatten(), pools, counted.flatten()).view_as(returns) * exists
        members = torch.bincount(pools[counted.flatten()])
        return Credit(
            advantages=per_token(a_episode + self.step_weight * a_step, batch.turn_ids),
            components={"episode": a_episode, "step": self.step_weight * a_step},
            # Turns that share their state with another one; without any, A = A_E.
            metrics={"anchored_share": members[members > 1].sum() / members.sum().clamp(min=1)},
        )

    def _episodes(
        self, episode: Float[Tensor, "N 1"], steps: Float[Tensor, "N K"], groups: Tensor, counted: Tensor
    ) -> Float[Tensor, "N K"]:
        """A_E of each turn: what it earned, penalty included, against the group's trajectories or turns."""
        ids = groups[:, None].expand_as(steps)
        if self.statistics == "step":
            return self._compare(steps.flatten(), ids.flatten(), counted.flatten()).view_as(steps)
        # The trajectories make up the statistics, the turns are measured against them.
        values, pools = torch.cat([episode, steps], 1), torch.cat([groups[:, None], ids], 1)
        sample = torch.cat([torch.ones_like(episode, dtype=torch.bool), torch.zeros_like(counted)], 1)
        return self._compare(values.flatten(), pools.flatten(), sample.flatten()).view_as(values)[:, 1:]

    def _compare(self, values: Tensor, ids: Tensor, counted: Tensor) -> Tensor:
        return standardize(values, ids, counted, ddof=1, eps=self.eps, scale=self.normalize_std)
