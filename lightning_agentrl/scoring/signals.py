"""Fills in exactly the signals that somebody declared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lightning_agentrl.scoring.ranks import release
from lightning_agentrl.scoring.scores import answer_logprobs, score
from lightning_agentrl.types import RolloutBatch, Signal

COLLATED = Signal.STATE_KEYS | Signal.TURN_REWARDS | Signal.PARENT_IDS | Signal.SAMPLING_ENTROPIES
"""Signals that come with the rollouts; nothing has to be computed for them."""
BY_POLICY = Signal.OLD_LOGPROBS | Signal.CURRENT_LOGPROBS | Signal.ENTROPIES
"""Signals of one forward of the policy over the rollouts."""
SCORED = BY_POLICY | Signal.REF_LOGPROBS | Signal.ANSWER_LOGPROBS


@torch.no_grad()
def fill(
    batch: RolloutBatch,
    signals: Signal,
    policy: nn.Module,
    reference: Callable[[], AbstractContextManager[nn.Module]],
    *,
    temperature: float,
    max_tokens: int,
) -> RolloutBatch:
    """The batch with ``signals`` filled in beyond what came with the rollouts.

    Args:
        batch: on the policy's device.
        signals: what is wanted.
        policy: whose opinion.
        reference: opens a block with the frozen policy for ``ref_logprobs``; called only if they are wanted.
        temperature: of the rollouts.
        max_tokens: most tokens of one forward.
    """
    unknown = signals & ~(COLLATED | SCORED)
    if unknown:
        raise ValueError(f"No scorer computes {', '.join(unknown.field_names)}; scorers exist for {SCORED!r}.")
    found: dict[str, Any] = {}
    settings: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    if signals & BY_POLICY:
        entropies, answers = Signal.ENTROPIES in signals, Signal.ANSWER_LOGPROBS in signals
        scores = score(policy, batch, entropies=entropies, answers=answers, **settings)
        for signal in (Signal.OLD_LOGPROBS, Signal.CURRENT_LOGPROBS):
            if signal in signals:
                found[signal.field_names[0]] = scores.logprobs
        if entropies:
            found["entropies"] = scores.entropies
        if answers:
            found["answer_logprobs"] = scores.answer_logprobs
    elif Signal.ANSWER_LOGPROBS in signals:
        found["answer_logprobs"] = answer_logprobs(policy, batch, **settings)
    if Signal.REF_LOGPROBS in signals:
        with reference() as frozen:
            found["ref_logprobs"] = score(frozen, batch, **settings).logprobs
            release(frozen)
    release(policy)
    return replace(batch, **found)
