"""At which tokens of a finished rollout a branch could start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout.jobs import Limits
from lightning_agentrl.types import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def openings(
    trajectories: Sequence[Trajectory],
    width: int,
    chat_format: ChatFormat,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    branching: Branching,
) -> Bool[Tensor, "N T"]:
    """Sampled tokens with room behind them, that say something, and outside of tool calls if the brancher wants that.

    Args:
        trajectories: one per row.
        width: T.
        chat_format: knows where tool calls are.
        tokenizer: the policy's.
        limits: of turn and context.
        branching: says how much room, and whether calls may be split.
    """
    result = torch.zeros(len(trajectories), width, dtype=torch.bool)
    for row, trajectory in enumerate(trajectories):
        column = len(trajectory.prompt)
        for turn in trajectory.turns:
            ids = turn.action.token_ids
            closed = [False] * len(ids) if branching.splits_calls else chat_format.inside_calls(tokenizer, ids)
            for place, (token, inside) in enumerate(zip(ids, closed, strict=True)):
                room = min(limits.max_turn_tokens - place, limits.max_model_len - column - place)
                result[row, column + place] = not inside and room >= branching.least_room and _speaks(tokenizer, token)
            column += len(ids) + (len(turn.observation) if turn.observation else 0)
    return result


@lru_cache(maxsize=1 << 16)
def _speaks(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether a token is more than blanks and punctuation."""
    return any(character.isalnum() for character in tokenizer.decode([token]))
