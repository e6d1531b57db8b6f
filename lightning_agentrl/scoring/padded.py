"""Likelihoods on plain right-padded rows: the reference, and the way of policies that cannot do prefix trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from lightning_agentrl.prefix_tree import NOTHING, Load, TokenSequence, distinct_tokens
from lightning_agentrl.scoring.head import head_scores, plain_head, token_scores
from lightning_agentrl.scoring.ranks import agreed, run


def padded_likelihoods(
    policy: nn.Module, sequences: Sequence[TokenSequence], temperature: float, entropies: bool, max_tokens: int | None
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"], Load]:
    """Log-probs and (zeros unless asked for) entropies of what the sequences ask about, in their order.

    Sequences of similar length share a forward of at most ``max_tokens``, padding included. A sequence is never cut.
    Where that takes several forwards, each is computed again in the backward. Ranks that hold a part of the policy each
    make equally many.
    """
    device = next(policy.parameters()).device
    first = torch.tensor([0, *(len(sequence.wanted) for sequence in sequences)]).cumsum(0)
    cut = list(_chunks(torch.tensor([len(sequence.tokens) for sequence in sequences]), max_tokens))
    forwards = agreed(policy, len(cut))
    way = _by_backbone if plain_head(policy) else forward
    parts, asked, computed = [], [], 0
    for numbers in cut + [torch.tensor([], dtype=torch.int64)] * (forwards - len(cut)):
        chosen = [sequences[number] for number in numbers.tolist()] or [NOTHING]
        ids = pad_sequence([sequence.tokens for sequence in chosen], batch_first=True)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, sequence in enumerate(chosen):
            mask[row, sequence.wanted] = True
        arguments = (policy, way, ids.to(device), mask.to(device), temperature, entropies)
        if forwards > 1 and torch.is_grad_enabled():
            values = checkpoint(run, *arguments, use_reentrant=False)
        else:
            values = run(*arguments)
        parts.append([value[mask] for value in values])
        asked += [torch.arange(int(first[number]), int(first[number + 1])) for number in numbers]
        computed += ids.numel()
    back = torch.cat(asked).argsort().to(device)
    logprobs, spreads = (torch.cat(values)[back] for values in zip(*parts, strict=True))
    total = sum(len(sequence.tokens) for sequence in sequences)
    return logprobs, spreads, Load(total, distinct_tokens(sequences), computed)


def forward(
    policy: nn.Module,
    ids: Int[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    temperature: float = 1.0,
    entropies: bool = False,
) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    """Log-probs and (zeros unless asked for) entropies of the masked tokens of right-padded rows, in one forward."""
    # Rows are right-padded and attention is causal, so no real token can see padding and no attention mask is needed.
    columns = mask.any(0).nonzero()
    first = int(columns[0]) if len(columns) else ids.shape[1] - 1
    first = max(first, 1)
    # The logits that predict columns first…T−1 are those at columns first−1…T−2; the last column predicts nothing here.
    keep = min(ids.shape[1] - first + 1, ids.shape[1])
    logits = policy(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[:, :-1]  # [N, T−first, V]
    wanted = mask[:, first:]
    full = torch.zeros_like(mask)
    full[:, first:] = wanted
    scores = token_scores(logits[wanted], ids[:, first:][wanted], temperature, entropies)
    logprobs, spreads = (value.new_zeros(ids.shape).masked_scatter(full, value) for value in scores)
    return logprobs, spreads


def _by_backbone(
    policy: Any, ids: Int[Tensor, "N T"], mask: Bool[Tensor, "N T"], temperature: float, entropies: bool
) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    """The same with the head on those hidden states alone that predict a masked token, and its logits not kept."""
    hidden = policy.base_model(input_ids=ids, use_cache=False)[0][:, :-1][mask[:, 1:]]
    scores = head_scores(policy.get_output_embeddings(), hidden, ids[mask], temperature, entropies)
    logprobs, spreads = (value.new_zeros(ids.shape).masked_scatter(mask, value) for value in scores)
    return logprobs, spreads


def _chunks(lengths: Int[Tensor, " N"], max_tokens: int | None) -> Iterator[Int[Tensor, " M"]]:
    """Rows by length, so that a chunk holds little padding; at most ``max_tokens`` in one, but at least a row."""
    order = lengths.argsort(stable=True)
    start = 0
    for end in range(1, len(order) + 1):
        longest = int(lengths[order[end]]) if end < len(order) else 0
        if end == len(order) or (max_tokens is not None and (end - start + 1) * longest > max_tokens):
            yield order[start:end]
            start = end
