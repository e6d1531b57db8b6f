"""A²TGPO: turns against the same turn of the siblings, rescaled by what lies ahead, with a clip range per turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, discount, one_rank
from lightning_agentrl.credit.gains import GainBase, Gains, information_gains, prompt_pools, turn_pools
from lightning_agentrl.ops import per_token, pool_count, pool_mean, pool_std, standardize, suffix_sum
from lightning_agentrl.types import Credit, Metrics, RolloutBatch, Signal


@dataclass(frozen=True)
class A2TGPO(CreditAssigner):
    """Turn-group normalised information gain and adaptive turn clipping (arXiv:2605.06200, Eq. 6–12).

    n̂_t standardises the gain of turn t over the siblings that have a process turn t (Eq. 6). Turn t earns
    α·D_t / √n_t + R̂ with D_t = Σ_{k≥t} γ^{k−t} n̂_k over process turns, n_t their number, and R̂ = z(R) over the group
    (Eq. 7–8); the answer turn earns R̂. Its clip range is scaled by c_t = 1 + β·(2·sigmoid(n̂_t) − 1) (Eq. 9–10), by 1
    on the answer turn.

    ``normalize="leave-one-out"`` is an unbiased form of our own. Comparing turn t over those who *have* a turn t makes
    the baseline depend on the decision to go on: a turn t is worth −μ_t / σ_t for merely existing, which is logged as
    ``hidden_bonus``. Here the gains ahead are added up first, G_t = Σ_{k≥t} γ^{k−t} IG_k, then compared with the mean
    of the *other* siblings that have turn t, and divided by one number for the collection, the root mean square of
    these differences; without such a sibling the difference is 0.

    Deviations: Eq. 2–3 print probabilities, the released code takes log-probs; ``gain`` chooses. α is the release's,
    the paper has none (1). ``first_turn_gain=False`` gives the first turn no gain of its own, as the release does; its
    clip ratio is still its own. The release loses gains of exactly 0 and finds turns by equal advantages; turns are
    explicit here. ``floor`` bounds σ from below, so that rounding noise between equal turns is not blown up to ±1.
    """

    gain: GainBase = "log"
    """Difference of mean log-probs of the ground truth, or of their exponentials."""
    normalize: Literal["turn-group", "group", "leave-one-out"] = "turn-group"
    """Eq. 6 over siblings' turns of the same number; over all turns of the prompt (IGPO); or our unbiased form."""
    rescale: bool = True
    """Divide D_t by √n_t (Eq. 7); must be off with leave-one-out, whose returns are not sums of n unit variances."""
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
    """Least standard deviation of gains, in nats (or probability)."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps, floor=self.floor)
        if not 0 <= self.beta < 1:
            raise ValueError(f"A2TGPO.beta must lie in [0, 1), got {self.beta}: at 1 a clip range could vanish.")
        if self.normalize == "leave-one-out" and self.rescale:
            raise ValueError("A2TGPO.rescale is not read with normalize=leave-one-out; set rescale to false.")

    @property
    def requires(self) -> Signal:
        """Log-probs of the ground truth after each turn."""
        return Signal.ANSWER_LOGPROBS

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
            floor=self.floor,
        ).view_as(gains.values)
        normed = torch.where(gains.exists, normed, torch.zeros_like(normed))  # n̂, [N, K]
        if self.normalize == "leave-one-out":
            ahead = self._leave_one_out(batch, gains, all_reduce)
        else:
            ahead = suffix_sum(normed, self.gamma)  # D, [N, K]
        if self.rescale:
            count = suffix_sum(process_mask.to(normed.dtype), 1.0)  # n
            ahead = ahead / count.clamp(min=1).sqrt()
        process = self.alpha * torch.where(process_mask, ahead, torch.zeros_like(ahead))
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

    def _leave_one_out(self, batch: RolloutBatch, gains: Gains, all_reduce: Reduce) -> Float[Tensor, "N K"]:
        """Gains ahead against the other siblings that have the turn, over one standard deviation per collection."""
        returns = suffix_sum(gains.values, self.gamma).flatten()
        pools, exists, counted = turn_pools(batch).flatten(), gains.exists.flatten(), gains.counted.flatten()
        centered = returns - pool_mean(returns, pools, counted)
        size = pool_count(pools, counted)
        # x − mean of the others = n / (n − 1) · (x − mean of all); a copied turn is measured like its original.
        difference = centered * size / (size - 1).clamp(min=1)
        difference = torch.where(exists & (size > 1), difference, torch.zeros_like(difference))
        sums = torch.stack([(difference[counted] ** 2).sum(), (size[counted] > 1).sum().to(difference.dtype)])
        square, number = all_reduce(sums).unbind()
        sigma = (square / number.clamp(min=1)).sqrt().clamp(min=self.floor) + self.eps
        return (difference / sigma.clamp(min=1e-12)).view_as(gains.values)

    @staticmethod
    def _hidden_bonus(batch: RolloutBatch, gains: Gains) -> Metrics:
        """−μ_t / σ_t of each turn group, averaged over prompts: what having a turn t is worth whatever it did."""
        pools, counted = turn_pools(batch).flatten(), gains.counted.flatten()
        values = gains.values.flatten()
        size, spread = pool_count(pools, counted), pool_std(values, pools, counted, 0)
        usable = counted & (spread > 0)
        bonus = -pool_mean(values, pools, counted) / torch.where(usable, spread, torch.ones_like(spread))
        weight = torch.where(usable, 1 / size.clamp(min=1), torch.zeros_like(bonus)).view_as(gains.values)
        total = (bonus.view_as(weight) * weight).sum(0) / weight.sum(0).clamp(min=1e-12)  # [K]
        return {f"hidden_bonus_turn_{turn + 1}": value for turn, value in enumerate(total) if weight[:, turn].any()}
