"""IGPO: a turn earns how much likelier it made the ground truth, and the outcome on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner, Reduce, at_least, degrees, discount, one_rank
from lightning_agentrl.credit.gains import GainBase, Gains, information_gains, prompt_pools
from lightning_agentrl.ops import per_token, standardize, suffix_sum
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class IGPO(CreditAssigner):
    """Information gain per turn, outcome on the last, standardised and then accumulated (arXiv:2510.14967v2, Eq. 3–6).

    z_t = (IG_t − μ) / (σ + eps) over every gain of the prompt, z_T = z(R) over its outcomes, and turn t earns
    Σ_{k=t…T} γ^{k−t} z_k. The first version of the paper compared probabilities instead of log-probs and gains together
    with outcomes: ``gain="prob", pool="joint"``.

    Deviations: the released code loses a gain of exactly 0 and joins its turn with the next; here it is a gain like any
    other. A cut last turn keeps what gains it has. A gain that cannot be computed (no ground truth) is left out and
    counted. Several accepted answers are scored, not the first alone, unless ``data.answer_aliases: first``.
    """

    gain: GainBase = "log"
    """Difference of mean log-probs (second version, Eq. 4) or of their exponentials (first version)."""
    pool: Literal["separate", "joint"] = "separate"
    """Gains and outcomes standardised apart (Eq. 5) or as one pool."""
    gamma: float = 1.0
    """γ: discount per turn, in [0, 1]."""
    normalize_std: bool = True
    """Divide by the standard deviation."""
    ddof: int = 0
    """0: population standard deviation, as released; 1: sample."""
    eps: float = 1e-6
    """Added to the standard deviations."""
    floor: float = 0.0
    """Least standard deviation of gains, in nats (or probability): keeps rounding noise of equal turns small."""

    def __post_init__(self) -> None:
        discount(self, self.gamma)
        degrees(self, self.ddof)
        at_least(0, self, eps=self.eps, floor=self.floor)

    @property
    def requires(self) -> Signal:
        """Log-probs of the ground truth after each turn."""
        return Signal.ANSWER_LOGPROBS

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        """Accumulated gains and outcome."""
        gains = information_gains(batch, self.gain)
        gain, outcome = self._standardized(batch, gains)
        turns = batch.turn_mask
        last = turns & (torch.arange(turns.shape[1], device=turns.device) == turns.sum(1, keepdim=True) - 1)
        outcome_at_end = torch.where(last, outcome[:, None], torch.zeros_like(gain))  # [N, K]
        process, final = suffix_sum(gain, self.gamma) * turns, suffix_sum(outcome_at_end, self.gamma) * turns
        return Credit(
            advantages=per_token(process + final, batch.turn_ids),
            components={"outcome": final, "information gain": process},
            metrics={"missing_gains": gains.missing},
        )

    def _standardized(self, batch: RolloutBatch, gains: Gains) -> tuple[Float[Tensor, "N K"], Float[Tensor, " N"]]:
        """Eq. 5: gains of turns (0 where there is none) and outcomes."""
        pools = prompt_pools(batch)
        if self.pool == "separate":
            outcome = self._compare(batch.rewards, batch.group_ids, None, 0.0)
            gain = self._compare(gains.values.flatten(), pools.flatten(), gains.counted.flatten(), self.floor)
            return gain.view_as(gains.values) * gains.exists, outcome
        size = gains.values.numel()
        both = self._compare(
            torch.cat([gains.values.flatten().to(batch.rewards.dtype), batch.rewards]),
            torch.cat([pools.flatten(), pools[:, 0]]),
            torch.cat([gains.counted.flatten(), torch.ones_like(batch.rewards, dtype=torch.bool)]),
            self.floor,
        )
        return both[:size].view_as(gains.values) * gains.exists, both[size:]

    def _compare(self, values: Tensor, ids: Tensor, counted: Tensor | None, floor: float) -> Tensor:
        return standardize(values, ids, counted, ddof=self.ddof, eps=self.eps, floor=floor, scale=self.normalize_std)
