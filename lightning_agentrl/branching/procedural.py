"""Branches at decision points anywhere in what the policy said (APPO)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.branching.base import Branching, Schedule
from lightning_agentrl.ops import masked_mean, masked_suffix_sum, standardize, suffix_sum
from lightning_agentrl.types import BranchPoint, RolloutBatch, Signal


@dataclass(frozen=True)
class ProceduralBranching(Branching):
    """Re-samples from the tokens with the highest Branching Score (arXiv:2606.12384, §3.2).

    BS_i = z(clip(Ω_i, 1 − ε′, 1 + ε′)) · z(H_i) with z over a rollout's tokens, H the entropy and
    Ω_i = exp Σ_{k≥i} γ^{k−i}·Δ_k, Δ how far the policy has moved on a token (Eq. 3–5). Of each of N roots the B best
    tokens, both factors positive, become branches that start before the token; M = N·(B + 1).

    ``source`` says what Δ compares. ``drift``, the paper's: the policy at this optimizer step with the one that
    sampled, so branches are drawn before each step for its prompts, and by entropy before the first. ``half-step``:
    the first half of the prompts is trained without branches, then the second is branched at once. ``snapshot``: the
    policy with that of the run's start. ``mismatch``, the released code: trainer with engine, which is numerical noise.
    ``entropy``: no Δ, which is the paper's ablation.

    Deviations: where Ω does not vary in a rollout (no step was made yet) the score is z(H), where the release picks the
    first tokens of the first rollout. Slots for which a rollout has no candidate go to further roots, not to tokens of
    low score. One generation of branches.
    """

    branches: int = 3
    """B: branches per root."""
    source: Literal["drift", "half-step", "snapshot", "entropy", "mismatch"] = "drift"
    """What the future value compares."""
    scope: Literal["rollout", "prompt"] = "rollout"
    """B from each root, or as many from all of a prompt's roots together (released)."""
    half_life: float | None = 32.0
    """Tokens after which a later Δ counts half: γ = 2^(−1 / half_life); null counts all the same (released)."""
    positions: Literal["all", "sampled"] = "all"
    """Whether γ counts every column, observations included, or only what the policy said."""
    clip: float = 0.2
    """ε′ of the future value."""
    prefix: Literal["exclude", "include"] = "exclude"
    """Whether the branch samples the chosen token anew (paper) or keeps it (released) and starts at the next one."""
    distance: int = 8
    """Least number of columns between two branches of a rollout."""
    room: int = 16
    """Least number of tokens that turn and context must still hold behind a branch."""
    inside_calls: bool = True
    """Whether a branch may start inside of a tool call."""
    guard: float = 1e-4
    """Standard deviation of the future value below which it is taken not to vary."""

    def __post_init__(self) -> None:
        if min(self.branches, self.distance, self.room) < 1 or (self.half_life is not None and self.half_life <= 0):
            raise ValueError(
                f"ProceduralBranching needs branches, distance and room of at least 1 and half_life > 0, got "
                f"{self.branches}, {self.distance}, {self.room} and {self.half_life}."
            )
        if not 0 < self.clip < 1 or self.guard < 0:
            raise ValueError(f"ProceduralBranching needs 0 < clip < 1 and guard ≥ 0, got {self.clip} and {self.guard}.")

    @property
    def requires(self) -> Signal:
        """Entropies, and both sides of what the source compares."""
        if self.source == "entropy":
            return Signal.ENTROPIES
        other = {"snapshot": Signal.REF_LOGPROBS, "mismatch": Signal.NONE}.get(self.source, Signal.OLD_LOGPROBS)
        return Signal.ENTROPIES | Signal.CURRENT_LOGPROBS | other

    @property
    def schedule(self) -> Schedule:
        """``drift`` and ``half-step`` look at a policy that moves within a collection."""
        schedules: dict[str, Schedule] = {"drift": "steps", "half-step": "halves"}
        return schedules.get(self.source, "collection")

    @property
    def least_room(self) -> int:
        """Tokens that must fit behind a branch."""
        return self.room

    @property
    def ahead(self) -> int:
        """One token where the chosen one is kept."""
        return 1 if self.prefix == "include" else 0

    @property
    def splits_calls(self) -> bool:
        """Whether tool calls may be re-sampled from their middle."""
        return self.inside_calls

    def initial(self, budget: int) -> int:
        """N = M / (B + 1)."""
        if budget % (self.branches + 1):
            raise ValueError(
                f"ProceduralBranching needs a budget of N·(branches + 1) trajectories per prompt; got data.group_size="
                f"{budget} with branches={self.branches}."
            )
        return budget // (self.branches + 1)

    def after_group(
        self, batch: RolloutBatch, open_at: Bool[Tensor, "N T"], budget: int, rng: random.Random
    ) -> list[BranchPoint]:
        """The best candidates, one by one, keeping their distance."""
        score, candidate = self.score(batch)
        candidate = candidate & open_at
        order = score.masked_fill(~candidate, -torch.inf).flatten().argsort(descending=True, stable=True)
        width, each = score.shape[1], self.branches if self.scope == "rollout" else budget
        chosen: dict[int, list[int]] = {}
        points: list[BranchPoint] = []
        for place in order[: int(candidate.sum())].tolist():
            row, column = divmod(place, width)
            taken = chosen.setdefault(row, [])
            if len(points) == budget:
                break
            if len(taken) < each and all(abs(column - other) >= self.distance for other in taken):
                taken.append(column)
                parent = int(batch.trajectory_ids[row])
                points.append(BranchPoint(parent, column + self.ahead, float(score[row, column])))
        return points

    def score(self, batch: RolloutBatch) -> tuple[Float[Tensor, "N T"], Bool[Tensor, "N T"]]:
        """BS, and the tokens whose factors are both positive; where Ω does not vary, z(H) alone."""
        assert batch.entropies is not None
        mask = batch.action_mask
        z_entropy = _z(batch.entropies, mask)
        future = self.future(batch)
        mean = masked_mean(future, mask, 1)[:, None]
        varies = masked_mean((future - mean) ** 2, mask, 1).sqrt()[:, None] >= max(self.guard, 1e-12)
        z_future = torch.where(varies, _z(future, mask), torch.ones_like(future))
        return z_entropy * z_future * mask, mask & (z_entropy > 0) & (z_future > 0)

    def future(self, batch: RolloutBatch) -> Float[Tensor, "N T"]:
        """Clipped Ω; 1 for ``source="entropy"``."""
        drift = self.drift(batch)
        gamma = 1.0 if self.half_life is None else 2 ** (-1 / self.half_life)
        if self.positions == "all":
            total = suffix_sum(drift, gamma)
        else:
            total = masked_suffix_sum(drift, batch.action_mask, gamma)
        return total.exp().clamp(1 - self.clip, 1 + self.clip)

    def drift(self, batch: RolloutBatch) -> Float[Tensor, "N T"]:
        """Δ in nats, 0 off the action mask."""
        if self.source == "entropy":
            return torch.zeros_like(batch.sampling_logprobs)
        others = {"snapshot": batch.ref_logprobs, "mismatch": batch.sampling_logprobs}
        other = others.get(self.source, batch.old_logprobs)
        assert other is not None
        assert batch.current_logprobs is not None
        difference = (batch.current_logprobs - other).double()
        return torch.where(batch.action_mask, difference, torch.zeros_like(difference))

    def describe(self, batch: RolloutBatch) -> dict[str, float]:
        """How much the policy moved, and whether the score could use it."""
        mask, drift, future = batch.action_mask, self.drift(batch).abs(), self.future(batch)
        mean = masked_mean(future, mask, 1)[:, None]
        spread = masked_mean((future - mean) ** 2, mask, 1).sqrt()
        return {
            "drift": float(masked_mean(drift, mask)),
            "future_std": float(spread.mean()),
            "future_bound_share": float(masked_mean(((future - 1).abs() >= self.clip * (1 - 1e-9)).double(), mask)),
            "guarded_share": float((spread < max(self.guard, 1e-12)).double().mean()),
        }


def _z(values: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """z-scores inside each row: population standard deviation, 0 off the mask."""
    rows = torch.arange(len(values), device=values.device)[:, None].expand_as(mask)
    flat = standardize(values.double().flatten(), rows.flatten(), mask.flatten(), ddof=0, eps=1e-6)
    return flat.view_as(mask) * mask
