"""What becomes of rollouts that were too long or cut: a penalty, a mask, or nothing, by an explicit setting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_agentrl.types import RolloutBatch

Truncated = Literal["keep", "mask", "penalize"]


@dataclass(frozen=True)
class Overlong:
    """Soft punishment of length (DAPO, arXiv:2503.14476, Eq. 13).

    0 up to ``limit`` − ``buffer`` sampled tokens, then down by 1 / ``buffer`` per token, not below ``floor``.
    """

    buffer: int | None = None
    """L_cache: tokens before the limit over which it grows; null takes a fifth of the limit, the paper's proportion."""
    limit: int | None = None
    """L_max: sampled tokens at which the penalty reaches −1; null takes the most that a trajectory may say."""
    floor: float | None = -1.0
    """Least value; null lets it go on falling behind the limit."""

    def __post_init__(self) -> None:
        ordered = self.buffer is None or (self.buffer > 0 and (self.limit is None or self.buffer <= self.limit))
        ordered = ordered and (self.limit is None or self.limit > 0)
        if not ordered or (self.floor is not None and self.floor >= 0):
            raise ValueError(
                f"data.overlong needs 0 < buffer ≤ limit and a negative floor, got buffer={self.buffer}, "
                f"limit={self.limit}, floor={self.floor}."
            )

    def within(self, longest: int) -> Overlong:
        """The setting with a limit that a trajectory of at most ``longest`` sampled tokens can come near to."""
        limit = longest if self.limit is None else self.limit
        buffer = max(limit // 5, 1) if self.buffer is None else self.buffer
        if limit - buffer >= longest:
            raise ValueError(
                f"data.overlong never acts: it starts at {limit - buffer} tokens, and a trajectory may say {longest}. "
                f"Lower data.overlong.limit, or leave it out."
            )
        return replace(self, limit=limit, buffer=buffer)

    def __call__(self, lengths: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """What to add to the rewards of rollouts with so many sampled tokens."""
        assert self.limit is not None
        assert self.buffer is not None
        penalty = ((self.limit - self.buffer - lengths) / self.buffer).clamp(max=0.0)
        return penalty if self.floor is None else penalty.clamp(min=self.floor)


@dataclass(frozen=True)
class Shaping:
    """The settings together, checked."""

    truncated: Truncated = "keep"
    truncated_penalty: float | None = None
    overlong: Overlong | None = None

    def __post_init__(self) -> None:
        if (self.truncated == "penalize") != (self.truncated_penalty is not None):
            raise ValueError(
                f"data.truncated_penalty is read with truncated=penalize, and needed there; got "
                f"truncated={self.truncated} and truncated_penalty={self.truncated_penalty}."
            )
        if self.truncated_penalty is not None and self.truncated_penalty < 0:
            raise ValueError(f"data.truncated_penalty must not be negative, got {self.truncated_penalty}.")

    def __call__(self, batch: RolloutBatch) -> RolloutBatch:
        """The batch with shaped rewards, and with truncated rows out of the loss mask if they are to be masked.

        A masked row still counts in its group's baseline: its reward is known. Raw outcomes stay as they are.
        """
        rewards = batch.rewards
        if self.overlong is not None:
            rewards = rewards + self.overlong(batch.action_mask.sum(1)).to(rewards.dtype)
        if self.truncated_penalty is not None:
            rewards = rewards - self.truncated_penalty * batch.truncated
        if self.truncated == "mask":
            return replace(batch, rewards=rewards, loss_mask=batch.trainable & ~batch.truncated[:, None])
        return replace(batch, rewards=rewards)


def without_weight(batch: RolloutBatch, groups: frozenset[int]) -> RolloutBatch:
    """The batch with some of its groups out of the loss mask."""
    if not groups:
        return batch
    off = torch.isin(batch.group_ids, torch.tensor(sorted(groups), device=batch.group_ids.device))
    return replace(batch, loss_mask=batch.trainable & ~off[:, None])
