"""Log-probs and entropies of a batch's action tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_agentrl.types import RolloutBatch


class Scores(NamedTuple):
    """Both [N, T]: 0 off the action mask. Entropies in nats over the full vocabulary, at the rollout temperature."""

    logprobs: Float[Tensor, "N T"]
    entropies: Float[Tensor, "N T"] | None


def score(
    policy: nn.Module,
    batch: RolloutBatch,
    *,
    temperature: float,
    entropies: bool = False,
    max_tokens: int | None = None,
) -> Scores:
    """Log-prob of every action token under ``softmax(logits / temperature)``.

    Args:
        policy: a Hugging Face causal language model.
        batch: right-padded rows; nothing but tokens and masks is read.
        temperature: of the rollouts.
        entropies: whether to compute them as well.
        max_tokens: most tokens, padding included, of one forward; more are cut into chunks of rows whose activations
            are recomputed in the backward. A row is never cut.
    """
    cut = list(chunks(batch.attention_mask.sum(1), max_tokens))
    order = torch.cat(cut)
    parts = []
    for rows in cut:
        part = batch.select(rows).trim()
        arguments = (policy, part.input_ids, part.action_mask, temperature, entropies)
        if len(cut) > 1 and torch.is_grad_enabled():
            parts.append(checkpoint(forward, *arguments, use_reentrant=False))
        else:
            parts.append(forward(*arguments))
    back = order.argsort()
    width = batch.input_ids.shape[1]
    logprobs = torch.cat([_widen(part[0], width) for part in parts])[back]
    return Scores(logprobs, torch.cat([_widen(part[1], width) for part in parts])[back] if entropies else None)


def chunks(lengths: Int[Tensor, " N"], max_tokens: int | None) -> Iterator[Int[Tensor, " M"]]:
    """Rows by length, so that a chunk holds little padding; at most ``max_tokens`` in one, but at least a row."""
    order = lengths.argsort(stable=True)
    start = 0
    for end in range(1, len(order) + 1):
        longest = int(lengths[order[end]]) if end < len(order) else 0
        if end == len(order) or (max_tokens is not None and (end - start + 1) * longest > max_tokens):
            yield order[start:end]
            start = end


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
    rows = logits[wanted].float() / temperature  # [M, V]
    log_normalizer = rows.logsumexp(-1)
    chosen = rows.gather(-1, ids[:, first:][wanted][:, None])[:, 0] - log_normalizer  # [M]
    empty = chosen.new_zeros(ids.shape)
    full = torch.zeros_like(mask)
    full[:, first:] = wanted
    if not entropies:
        return empty.masked_scatter(full, chosen), empty
    with torch.no_grad():
        mean_logit = (rows.softmax(-1) * rows).sum(-1)
    return empty.masked_scatter(full, chosen), empty.masked_scatter(full, log_normalizer.detach() - mean_logit)


def token_logprobs(logits: Float[Tensor, "M V"], targets: Int[Tensor, " M"], temperature: float) -> Float[Tensor, " M"]:
    """Log softmax(logits / temperature) of the targets, in float32."""
    rows = logits.float() / temperature
    return rows.gather(-1, targets[:, None])[:, 0] - rows.logsumexp(-1)


def _widen(values: Float[Tensor, "N S"], width: int) -> Float[Tensor, "N T"]:
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))
