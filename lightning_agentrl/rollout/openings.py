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
    """Tokens that a branch could be chosen by; see `Branching.after_group`.

    Args:
        trajectories: one per row.
        width: T.
        chat_format: knows where tool calls are.
        tokenizer: the policy's.
        limits: of turn and context.
        branching: says how much room, how far ahead it starts, and whether calls may be split.
    """
    ahead = branching.ahead
    result = torch.zeros(len(trajectories), width, dtype=torch.bool)
    for row, trajectory in enumerate(trajectories):
        column = len(trajectory.prompt)
        for turn in trajectory.turns:
            ids = turn.action.token_ids
            closed = [False] * len(ids) if branching.splits_calls else chat_format.inside_calls(tokenizer, ids)
            last = min(limits.max_turn_tokens, limits.max_model_len - column) - branching.least_room  # to start at
            stop = min(len(ids), last + 1) - ahead
            begun = [*chat_format.inside_stops(tokenizer, ids)[ahead:], *[False] * ahead]  # where a branch would start
            told = zip(ids, closed, begun, strict=False)
            chosen = [_speaks(tokenizer, token) and not inside and not split for token, inside, split in told]
            result[row, column : column + len(ids)] = torch.tensor(chosen)
            result[row, column + max(stop, 0) : column + len(ids)] = False
            column += len(ids) + (len(turn.observation) if turn.observation else 0)
    return result


@lru_cache(maxsize=1 << 16)
def _speaks(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether a token is more than blanks and punctuation."""
    return any(character.isalnum() for character in tokenizer.decode([token]))
