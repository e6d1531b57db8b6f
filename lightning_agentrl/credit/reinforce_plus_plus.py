"""REINFORCE++: returns whitened over the whole batch instead of a group."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, discount, one_rank
from lightning_agentrl.ops import masked_suffix_sum, masked_sum, standardize, turn_mean
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class ReinforcePlusPlus(CreditAssigner):
    """Token returns, minus their mean and over their standard deviation in the global batch (arXiv:2501.03262).

    The reward of a token is −β·(log π_old − log π_ref), plus R on the last one; its return is the discounted sum over
    the trained tokens from it on, observations stepped over. Long rollouts weigh more in the statistics.

    Deviations: γ counts trained tokens, not columns; an observation between two turns discounts nothing.
    """

    baseline: bool = False
    """Subtract the group's mean reward first (REINFORCE++-baseline)."""
    kl_coefficient: float = 0.0
    """β, at least 0: weight of the log-ratio to the reference inside the reward (estimator k1)."""
    gamma: float = 1.0
    """Discount per trained token, in [0, 1]."""
    eps: float = 1e-8
    """Added to the variance."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        at_least(0, self, kl_coefficient=self.kl_coefficient, eps=self.eps)

    @property
    def requires(self) -> Signal:
        """Old and reference log-probs where the reward holds a KL."""
        return Signal.OLD_LOGPROBS | Signal.REF_LOGPROBS if self.kl_coefficient else Signal.NONE

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Whitened returns."""
        valid = batch.rewards.isfinite()
        mask = batch.trainable & valid[:, None]
        returns = masked_suffix_sum(self._token_rewards(batch, mask), mask, self.gamma)
        count, total = all_reduce(torch.stack([mask.sum().to(returns.dtype), masked_sum(returns, mask)])).unbind()
        centered = torch.where(mask, returns - total / count.clamp(min=1), torch.zeros_like(returns))
        variance = all_reduce((centered**2).sum()[None])[0] / (count - 1).clamp(min=1)
        deviation = (variance + self.eps).sqrt()
        # All returns of the batch equal: what is left of the subtraction is rounding, some units of their last place.
        size = all_reduce(torch.where(mask, returns, torch.zeros_like(returns)).abs().max()[None], "max")[0]
        informative = variance > (8 * torch.finfo(returns.dtype).eps * size) ** 2
        advantages = torch.where(informative & mask, centered / deviation.clamp(min=1e-12), torch.zeros_like(centered))
        turns = torch.where(mask, batch.turn_ids, -1)
        return Credit(
            advantages=advantages,
            components={"return": turn_mean(advantages, turns, batch.turn_mask.shape[1])},
            metrics={"return_std": deviation},
        )

    def _token_rewards(self, batch: RolloutBatch, mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        reward = batch.rewards
        if self.baseline:
            reward = standardize(reward, batch.group_ids, ddof=1, scale=False)
        place = mask.long().cumsum(1)
        last = mask & (place == place[:, -1:])
        rewards = torch.where(last, reward[:, None], torch.zeros_like(reward[:, None]))  # [N, T]
        if self.kl_coefficient:
            assert batch.old_logprobs is not None
            assert batch.ref_logprobs is not None
            k1 = torch.where(mask, batch.old_logprobs - batch.ref_logprobs, torch.zeros_like(batch.old_logprobs))
            rewards = rewards - self.kl_coefficient * k1
        return rewards
