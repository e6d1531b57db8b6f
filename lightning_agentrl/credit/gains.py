"""Information gain: how much likelier each turn made the ground truth. Shared by IGPO and A²TGPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_agentrl.ops import owned_turns, pool_index
from lightning_agentrl.types import RolloutBatch

GainBase = Literal["log", "prob"]


@dataclass(frozen=True)
class Gains:
    """Gains of a batch, and which of them count where."""

    values: Float[Tensor, "N K"]
    """0 where there is none."""
    exists: Bool[Tensor, "N K"]
    """A process turn whose score before and after is finite."""
    counted: Bool[Tensor, "N K"]
    """Those that are part of statistics: each distinct turn once, in the row that sampled it."""
    missing: Int[Tensor, ""]
    """Number of process turns without a finite gain."""


def information_gains(batch: RolloutBatch, base: GainBase) -> Gains:
    """IG_t = S_t − S_{t−1} per process turn, S the mean log-prob of the ground truth after t turns, or its exponential.

    Eq. 3–4 of IGPO (arXiv:2510.14967) and Eq. 2–3 of A²TGPO (arXiv:2605.06200). The gain of the first turn is measured
    against the prompt alone; the answer turn has none. A constant: no gradient flows through it.
    """
    assert batch.answer_logprobs is not None
    scores = batch.answer_logprobs.detach()
    scores = scores if base == "log" else scores.exp()
    gains = scores.diff(dim=1)  # [N, K]
    exists = batch.process_mask & gains.isfinite()
    return Gains(
        values=torch.where(exists, gains, torch.zeros_like(gains)),
        exists=exists,
        counted=exists & owned_turns(batch.turn_ends, batch.inherited),
        missing=(batch.process_mask & ~exists).sum(),
    )


def turn_pools(batch: RolloutBatch) -> Int[Tensor, "N K"]:
    """Pool of each turn: the same prompt and the same turn number."""
    turns = batch.turn_mask.shape[1]
    return pool_index(batch.group_ids)[0][:, None] * turns + torch.arange(turns, device=batch.group_ids.device)


def prompt_pools(batch: RolloutBatch) -> Int[Tensor, "N K"]:
    """Pool of each turn: the same prompt."""
    return pool_index(batch.group_ids)[0][:, None].expand(batch.turn_mask.shape)
