"""A²TGPO: turns against the same turn of the siblings, rescaled by what lies ahead, with a clip range per turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, discount, one_rank
from lightning_agentrl.credit.gains import GainBase, Gains, information_gains, prompt_pools, turn_pools
from lightning_agentrl.ops import (
    owned_turns,
    owner_rows,
    per_token,
    pool_count,
    pool_mean,
    pool_std,
    pool_sum,
    standardize,
    suffix_sum,
)
from lightning_agentrl.types import Credit, Metrics, RolloutBatch, Signal

OWN_FORMS = frozenset({"leave-one-out", "reached"})
"""Ways to normalise that are not the paper's."""


@dataclass(frozen=True)
class A2TGPO(CreditAssigner):
    """Turn-group normalised information gain and adaptive turn clipping (arXiv:2605.06200, Eq. 6–12).

    n̂_t standardises the gain of turn t over the siblings that have a process turn t (Eq. 6). Turn t earns
    α·D_t / √n_t + R̂ with D_t = Σ_{k≥t} γ^{k−t} n̂_k over process turns, n_t their number, and R̂ = z(R) over the group
    (Eq. 7–8); the answer turn earns R̂. Its clip range is scaled by c_t = 1 + β·(2·sigmoid(n̂_t) − 1) (Eq. 9–10), by 1
    on the answer turn.

    Comparing turn t over those who *have* a turn t makes the baseline depend on the decision to go on: a turn is worth
    −μ_t / σ_t for merely existing, which is logged as ``hidden_bonus``. Two forms of our own add up the gains ahead
    first, G_t = Σ_{k≥t} γ^{k−t} IG_k, subtract a mean over *other* siblings only, and divide by one number for the
    collection, the root mean square of these differences. Without such a sibling the difference is 0.
    ``normalize="leave-one-out"`` takes the siblings that have a process turn t. That is unbiased for what a turn does,
    but not for whether it happens: who answers instead is not charged the mean. ``"reached"`` takes all that came as
    far as turn t, 0 for those who answered there, and charges the answer turn too: then the baseline does not depend
    on the action at all, and is unbiased for going on as well, before the division and where there is a sibling.

    Deviations: Eq. 2–3 print probabilities, the released code takes log-probs; ``gain`` chooses. α is the release's,
    the paper has none (1). ``first_turn_gain=False`` gives the first turn no gain of its own, as the release does; its
    clip ratio is still its own. The release loses gains of exactly 0 and finds turns by equal advantages; turns are
    explicit here. ``floor`` bounds σ from below, so that rounding noise between equal turns is not blown up to ±1.
    """

    gain: GainBase = "log"
    """Difference of mean log-probs of the ground truth, or of their exponentials."""
    normalize: Literal["turn-group", "group", "leave-one-out", "reached"] = "turn-group"
    """Eq. 6 over siblings' turns of the same number; over all turns of the prompt (IGPO); or a form of our own."""
    rescale: bool = True
    """Divide D_t by √n_t (Eq. 7); must be off in our own forms, whose returns are not sums of n unit variances."""
    alpha: float = 1.0
    """α: weight of the process part."""
    gamma: float = 1.0
    """γ: discount per turn, in [0, 1]."""
    beta: float = 0.3
    """β in [0, 1): how far a turn's clip range may shrink or grow; 0 leaves it alone."""
    first_turn_gain: bool = True
    """Whether the first turn has a gain of its own; otherwise it shares credit and clip scale of the second."""
    ddof: int = 0
    """0: population standard deviation (Appendix D.2); 1: sample."""
    eps: float = 0.0
    """Added to the standard deviations."""
    floor: float = 1e-3
    """Least standard deviation of gains, in nats; not read with ``gain="prob"``, whose gains may be of 1e-6."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps, floor=self.floor)
        if not 0 <= self.beta < 1:
            raise ValueError(f"A2TGPO.beta must lie in [0, 1), got {self.beta}: at 1 a clip range could vanish.")
        if self.normalize in OWN_FORMS and self.rescale:
            raise ValueError(f"A2TGPO.rescale is not read with normalize={self.normalize}; set rescale to false.")
        if self.normalize == "reached" and not self.first_turn_gain:
            raise ValueError("A2TGPO.first_turn_gain=False is not read with normalize=reached: every turn counts.")

    @property
    def requires(self) -> Signal:
        """Log-probs of the ground truth after each turn."""
        return Signal.ANSWER_LOGPROBS

    @property
    def _floor(self) -> float:
        return self.floor if self.gain == "log" else 0.0

    @property
    def scales_clip(self) -> bool:
        """With β = 0 the clip range stays as it is."""
        return self.beta > 0

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Process and outcome credit, and the clip scale."""
        gains = information_gains(batch, self.gain)
        process_mask = batch.process_mask
        if not self.first_turn_gain:
            first = torch.arange(process_mask.shape[1], device=process_mask.device) == 0
            process_mask = process_mask & ~first
            gains = Gains(gains.values * ~first, gains.exists & ~first, gains.counted & ~first, gains.missing)
        pools = prompt_pools(batch) if self.normalize == "group" else turn_pools(batch)
        normed = standardize(
            gains.values.flatten(),
            pools.flatten(),
            gains.counted.flatten(),
            ddof=self.ddof,
            eps=self.eps,
            floor=self._floor,
        ).view_as(gains.values)
        normed = torch.where(gains.exists, normed, torch.zeros_like(normed))  # n̂, [N, K]
        if self.normalize in OWN_FORMS:
            ahead = self._against_others(batch, gains, all_reduce)
        else:
            ahead = suffix_sum(normed, self.gamma)  # D, [N, K]
        if self.rescale:
            count = suffix_sum(process_mask.to(normed.dtype), 1.0)  # n
            ahead = ahead / count.clamp(min=1).sqrt()
        credited = batch.turn_mask if self.normalize == "reached" else process_mask
        process = self.alpha * torch.where(credited, ahead, torch.zeros_like(ahead))
        scale = 1 + self.beta * (2 * normed.sigmoid() - 1)  # c; 1 where n̂ = 0, the answer turn included
        if not self.first_turn_gain and process.shape[1] > 1:
            joined = batch.process_mask[:, 0]  # the first turn goes with the second
            process[:, 0] = torch.where(joined, process[:, 1], process[:, 0])
            scale[:, 0] = torch.where(joined, scale[:, 1], scale[:, 0])
        outcome = standardize(batch.rewards, batch.group_ids, ddof=self.ddof, eps=self.eps)[:, None] * batch.turn_mask
        return Credit(
            advantages=per_token(process + outcome, batch.turn_ids),
            clip_scale=torch.where(batch.turn_ids >= 0, per_token(scale, batch.turn_ids), 1.0) if self.beta else None,
            components={"outcome": outcome, "information gain": process},
            metrics={"missing_gains": gains.missing, **self._hidden_bonus(batch, gains)},
        )

    def _against_others(self, batch: RolloutBatch, gains: Gains, all_reduce: Reduce) -> Float[Tensor, "N K"]:
        """Gains ahead less the mean of the others', over one number per collection; 0 where there are no others."""
        returns = suffix_sum(gains.values, self.gamma)  # G, [N, K]
        assert batch.answer_logprobs is not None
        known = batch.answer_logprobs.isfinite().any(1, keepdim=True)  # there is a ground truth at all
        members = gains.exists
        if self.normalize == "reached":
            members = members | (batch.turn_mask & ~batch.process_mask & known)
        counted = members & owned_turns(batch.turn_ends, batch.inherited)
        own = returns.gather(0, self._sampled_in(batch))  # of the row in which the turn was sampled, its copies' too
        pools = turn_pools(batch).flatten()
        others = (pool_count(pools, counted.flatten()) - 1).view_as(returns)
        total = pool_sum(returns.flatten(), pools, counted.flatten()).view_as(returns) - own
        difference = returns - total / others.clamp(min=1)
        difference = torch.where(members & (others > 0), difference, torch.zeros_like(difference))
        used = counted & (others > 0)
        sums = torch.stack([(difference[used] ** 2).sum(), used.sum().to(difference.dtype)])
        square, number = all_reduce(sums).unbind()
        sigma = (square / number.clamp(min=1)).sqrt().clamp(min=self._floor) + self.eps
        return torch.where(sigma > 0, difference / sigma.clamp(min=1e-30), torch.zeros_like(difference))

    @staticmethod
    def _sampled_in(batch: RolloutBatch) -> Int[Tensor, "N K"]:
        """Row in which each turn was sampled to its end."""
        owners = owner_rows(batch.trajectory_ids, batch.parent_ids, batch.inherited, batch.input_ids.shape[1])
        ends = batch.turn_ends[:, 1:]
        rows = torch.arange(len(batch), device=ends.device)[:, None]
        return torch.where(ends > 0, owners.gather(1, (ends - 1).clamp(min=0)), rows)

    def _hidden_bonus(self, batch: RolloutBatch, gains: Gains) -> Metrics:
        """−μ_t / σ_t of each turn group, averaged over prompts: what having a turn t is worth whatever it did.

        Groups that ``floor`` keeps from being told apart are left out: their bonus is cut down like their gains.
        """
        pools, counted = turn_pools(batch).flatten(), gains.counted.flatten()
        values = gains.values.flatten()
        size, spread = pool_count(pools, counted), pool_std(values, pools, counted, self.ddof)
        usable = counted & (spread > self._floor)
        bonus = -pool_mean(values, pools, counted) / torch.where(usable, spread, torch.ones_like(spread))
        weight = torch.where(usable, 1 / size.clamp(min=1), torch.zeros_like(bonus)).view_as(gains.values)
        total = (bonus.view_as(weight) * weight).sum(0) / weight.sum(0).clamp(min=1e-12)  # [K]
        return {f"hidden_bonus_turn_{turn + 1}": value for turn, value in enumerate(total) if weight[:, turn].any()}
