"""Log-probs, entropies and answer log-probs of a batch, from one pass over the prefix trees of its rows and probes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from lightning_agentrl.prefix_tree import NOTHING, Load, TokenSequence
from lightning_agentrl.scoring.answers import answer_means, answer_probes
from lightning_agentrl.scoring.attention import obstacle
from lightning_agentrl.scoring.padded import padded_likelihoods
from lightning_agentrl.scoring.tensor_parallel import heard_by_all, of_team, team
from lightning_agentrl.scoring.trees import tree_likelihoods
from lightning_agentrl.types import RolloutBatch

warn = rank_zero_only(logging.getLogger(__name__).warning)


class Scores(NamedTuple):
    """What a policy makes of a batch; None is what nobody asked for."""

    logprobs: Float[Tensor, "N T"]
    """0 off the action mask."""
    entropies: Float[Tensor, "N T"] | None
    """In nats over the full vocabulary, at the rollout temperature; 0 off the action mask."""
    answer_logprobs: Float[Tensor, "N K1"] | None
    """See `answers.answer_means`."""
    load: Load
    """What it took."""


def score(
    policy: nn.Module,
    batch: RolloutBatch,
    *,
    temperature: float,
    entropies: bool = False,
    answers: bool = False,
    max_tokens: int | None = None,
    trees: bool | None = None,
) -> Scores:
    """Log-prob of every action token under ``softmax(logits / temperature)``, and more of the same forwards.

    Args:
        policy: a Hugging Face causal language model.
        batch: right-padded rows on the policy's device; tokens, masks and groups are read, for answers turn ends and
            probes too.
        temperature: of the rollouts.
        entropies: whether to compute them as well.
        answers: whether to score the ground truth after each turn as well. Its probes are leaves of the same trees.
        max_tokens: most tokens, padding included, of one forward; more take several, whose activations are computed
            again in the backward. A sequence is never cut.
        trees: whether to compute what rows of a group share once. None: wherever the policy's attention allows it.
    """
    mask = batch.action_mask
    sequences = _rows(batch) + (answer_probes(batch) if answers else [])
    logprobs, spreads, load = likelihoods(policy, sequences, temperature, entropies, max_tokens, trees)
    own = int(mask.sum())
    return Scores(
        _spread(logprobs[:own], mask),
        _spread(spreads[:own], mask) if entropies else None,
        answer_means(logprobs[own:], batch) if answers else None,
        load,
    )


def answer_logprobs(
    policy: nn.Module,
    batch: RolloutBatch,
    *,
    temperature: float,
    max_tokens: int | None = None,
    trees: bool | None = None,
) -> Float[Tensor, "N K1"]:
    """The answer log-probs of `score` alone: nothing behind a row's last turn end is computed."""
    sequences = answer_probes(batch) or [NOTHING]  # other ranks may have some, and then wait for this one
    return answer_means(likelihoods(policy, sequences, temperature, False, max_tokens, trees)[0], batch)


def likelihoods(
    policy: nn.Module,
    sequences: Sequence[TokenSequence],
    temperature: float,
    entropies: bool,
    max_tokens: int | None,
    trees: bool | None,
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"], Load]:
    """Log-probs and (zeros unless asked for) entropies of what the sequences ask about, in their order."""
    reason = obstacle(policy)
    if trees and reason:
        raise ValueError(f"trees=True, but {reason}.")
    ranks = team(policy)
    sequences, mine = of_team(sequences, ranks)
    by = tree_likelihoods if reason is None and trees is not False else padded_likelihoods
    logprobs, spreads, load = by(policy, sequences, temperature, entropies, max_tokens)
    if reason is not None and reason not in _told:
        _told.add(reason)
        warn(
            f"Prefixes that rows share are computed once per row, because {reason}: {load.computed} tokens in this "
            f"batch, where prefix trees have {load.distinct}, a factor of {load.computed / load.distinct:.1f}."
        )
    return heard_by_all(logprobs, ranks)[mine], spreads[mine], load / (ranks.size() if ranks else 1)


_told: set[str] = set()


def _rows(batch: RolloutBatch) -> list[TokenSequence]:
    """Without padding, save for one token of a row that has no other."""
    ids, wanted = batch.input_ids.cpu(), batch.action_mask.cpu()
    lengths = batch.attention_mask.sum(1).clamp(min=1).tolist()
    groups = batch.group_ids.tolist()
    return [
        TokenSequence(ids[row, :length], wanted[row].nonzero()[:, 0], groups[row]) for row, length in enumerate(lengths)
    ]


def _spread(values: Float[Tensor, " M"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
