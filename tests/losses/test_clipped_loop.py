"""The clipped loss against the same written down token by token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.types import RolloutBatch

Level = Literal["token", "turn", "sequence"]
LEVELS = pytest.mark.parametrize("level", ["token", "turn", "sequence"])
DUAL = st.sampled_from([None, 1.05, 3.0])


def credited(batch: RolloutBatch, scaled: bool) -> tuple[Tensor, RolloutBatch]:
    """Log-probs far enough from the old ones to be clipped, and a batch with credit of both signs and untrained tokens.

    The other signals serve as sources of random numbers.
    """
    assert batch.old_logprobs is not None
    assert batch.current_logprobs is not None
    assert batch.ref_logprobs is not None
    assert batch.entropies is not None
    assert batch.sampling_entropies is not None
    far = batch.old_logprobs + 3 * (batch.current_logprobs - batch.old_logprobs)
    return far, replace(
        batch,
        advantages=10 * (batch.ref_logprobs - batch.old_logprobs),
        loss_mask=batch.action_mask & (batch.entropies > 0.2),
        clip_scale=0.2 + batch.sampling_entropies if scaled else None,
    )


def loop(loss: ClippedLoss, new: Tensor, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
    """Token losses and their derivatives by the token's own log-prob."""
    losses, slopes = torch.zeros_like(new), torch.zeros_like(new)
    trained, turns = batch.trainable.tolist(), batch.turn_ids.tolist()
    moves = (new - batch.old_logprobs).tolist()  # type: ignore[operator]
    for n, t in batch.trainable.nonzero().tolist():
        unit = {
            "token": [t],
            "turn": [k for k, on in enumerate(trained[n]) if on and turns[n][k] == turns[n][t]],
            "sequence": [k for k, on in enumerate(trained[n]) if on],
        }[loss.ratio]
        ratio = math.exp(sum(moves[n][k] for k in unit) / len(unit))
        advantage = float(batch.advantages[n, t])  # type: ignore[index]
        scale = 1.0 if batch.clip_scale is None else float(batch.clip_scale[n, t])
        low, high = 1 - loss.clip_low * scale, 1 + loss.clip_high * scale
        value, slope = -advantage * ratio, -advantage * ratio
        if advantage > 0 and ratio > high:
            value, slope = -advantage * high, -advantage * high if loss.keep_gradient else 0.0
        if advantage < 0 and ratio < low:
            value, slope = -advantage * low, 0.0
        if loss.dual_clip is not None and advantage < 0 and value > -advantage * loss.dual_clip:
            value, slope = -advantage * loss.dual_clip, 0.0
        losses[n, t], slopes[n, t] = value, slope
    return losses, slopes


@LEVELS
@MANY
@given(batch=batches(), dual=DUAL, scaled=st.booleans())
def test_losses_are_those_of_a_loop(level: Level, batch: RolloutBatch, dual: float | None, scaled: bool) -> None:
    new, made = credited(batch, scaled)
    loss = ClippedLoss(0.05, 0.08, ratio=level, dual_clip=dual)
    torch.testing.assert_close(loss(new, made)[0], loop(loss, new, made)[0], rtol=1e-9, atol=1e-9)


@LEVELS
@MANY
@given(batch=batches(), dual=DUAL, scaled=st.booleans(), keep=st.booleans())
def test_gradients_are_those_of_a_loop(
    level: Level, batch: RolloutBatch, dual: float | None, scaled: bool, keep: bool
) -> None:
    new, made = credited(batch, scaled)
    loss = ClippedLoss(0.05, 0.08, ratio=level, dual_clip=dual, keep_gradient=keep)
    (slopes,) = torch.autograd.grad(loss(leaf := new.clone().requires_grad_(), made)[0].sum(), leaf)
    torch.testing.assert_close(slopes, loop(loss, new, made)[1], rtol=1e-9, atol=1e-9)


@LEVELS
@MANY
@given(batch=batches(), scaled=st.booleans())
def test_the_clip_fraction_counts_the_tokens_that_clipping_keeps_still(
    level: Level, batch: RolloutBatch, scaled: bool
) -> None:
    new, made = credited(batch, scaled)
    loss = ClippedLoss(0.05, 0.08, ratio=level)
    still = made.trainable & (loop(loss, new, made)[1] == 0)
    assert torch.equal(loss(new, made)[1]["clip_fraction"].bool() & made.trainable, still)
