"""Teacher-forced log-probs of the ground truth after every turn, which information gain compares."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightning_agentrl.ops import masked_mean
from lightning_agentrl.scoring.tokens import chunks, token_logprobs
from lightning_agentrl.types import RolloutBatch

MASKABLE = frozenset({"sdpa", "eager"})
"""Attention implementations that take a mask of their caller's."""


def answer_logprobs(
    policy: nn.Module,
    batch: RolloutBatch,
    *,
    temperature: float,
    max_tokens: int | None = None,
    one_pass: bool | None = None,
) -> Float[Tensor, "N K1"]:
    """Mean log-prob per token of the likeliest accepted answer, had the policy written it after 0…K turns.

    S of Eq. 3 in IGPO (arXiv:2510.14967) and Eq. 2 in A²TGPO (arXiv:2605.06200); NaN after turns that no further turn
    could follow, and in rows without an answer.

    Args:
        policy: a Hugging Face causal language model.
        batch: right-padded rows with ``probe_ids`` and ``probe_scored``.
        temperature: of the rollouts.
        max_tokens: most tokens of one forward; a row is never cut.
        one_pass: append all probes of a row to it and let a mask keep them apart (Fig. 3 of IGPO): each row is read
            once. Otherwise every probe is a sequence of its own, which any attention can compute. None decides by the
            policy's attention.
    """
    if batch.probe_ids is None or batch.probe_scored is None:
        raise ValueError("Answer log-probs need probes in the batch; `rollout.probes.with_probes` makes them.")
    one_pass = takes_masks(policy) if one_pass is None else one_pass
    scores = (_appended if one_pass else _separate)(policy, batch, temperature, max_tokens)  # [N, K+1, A]
    absent = (batch.turn_ends < 0)[..., None] | ~batch.probe_scored.any(-1)[:, None]
    best = scores.masked_fill(absent, -torch.inf).amax(-1)
    return best.masked_fill(absent.all(-1), torch.nan)


def takes_masks(policy: nn.Module) -> bool:
    """Whether every layer of the policy attends through a mask that can be handed in."""
    config: Any = policy.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    return bool(config._attn_implementation in MASKABLE and set(kinds) == {"full_attention"})


def _appended(
    policy: nn.Module, batch: RolloutBatch, temperature: float, max_tokens: int | None
) -> Float[Tensor, "N K1 A"]:
    """One forward per chunk of rows: each row, then a copy of each of its probes for each of its turn ends."""
    assert batch.probe_ids is not None
    rows, aliases, length = batch.probe_ids.shape
    ends = batch.turn_ends.shape[1]
    extra = ends * aliases * (length + 1)
    result = batch.sampling_logprobs.new_zeros(rows, ends, aliases)
    dtype = next(policy.parameters()).dtype
    config: Any = policy.config
    for chosen in chunks(batch.attention_mask.sum(1) + extra, max_tokens):
        part = batch.select(chosen).trim()
        ids, positions, visible = _packed(part)
        # Eager attention adds its mask to the weights; SDPA takes it as it is, and then no dtype can clash.
        eager = config._attn_implementation == "eager"
        mask = torch.zeros(visible.shape, dtype=dtype, device=ids.device) if eager else visible
        mask = mask.masked_fill(~visible, torch.finfo(dtype).min) if eager else mask
        logits = policy(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False, logits_to_keep=extra
        ).logits
        shape = (len(part), ends, aliases, length + 1)
        assert part.probe_ids is not None
        assert part.probe_scored is not None
        targets = part.probe_ids[:, None].expand(-1, ends, -1, -1)
        scored = part.probe_scored[:, None].expand(-1, ends, -1, -1) & (part.turn_ends >= 0)[..., None, None]
        predicting = logits.view(*shape, -1)[..., :-1, :]  # a copy's token j is predicted by what precedes it there
        logprobs = torch.zeros(targets.shape, dtype=torch.float32, device=ids.device)
        logprobs[scored] = token_logprobs(predicting[scored], targets[scored], temperature)
        result[chosen] = masked_mean(logprobs, scored, -1).to(result)
    return result


def _packed(batch: RolloutBatch) -> tuple[Int[Tensor, "N S"], Int[Tensor, "N S"], Bool[Tensor, "N 1 S S"]]:
    """Tokens, positions and visibility of rows with their probes behind them.

    A copy starts with the context token before it, once more: that one sees the same context as the original, so what
    predicts the probe's first token lies beside it, and only the end of the row needs logits.
    """
    assert batch.probe_ids is not None
    rows, width = batch.input_ids.shape
    _, aliases, length = batch.probe_ids.shape
    ends = batch.turn_ends.clamp(min=1)  # [N, K+1]; an absent end computes something that nobody reads
    count = ends.shape[1]
    step = torch.arange(length + 1, device=ends.device)
    before = batch.input_ids.gather(1, ends - 1)  # [N, K+1]
    copies = torch.cat(
        [
            before[:, :, None, None].expand(-1, -1, aliases, 1),
            batch.probe_ids[:, None].expand(-1, count, -1, -1),
        ],
        dim=-1,
    ).reshape(rows, -1)
    places = (ends[:, :, None, None] - 1 + step).expand(-1, -1, aliases, -1).reshape(rows, -1)
    columns = torch.arange(width, device=ends.device)
    ids = torch.cat([batch.input_ids, copies], 1)
    positions = torch.cat([columns.expand(rows, -1), places], 1)

    causal = (columns[:, None] >= columns)[None].expand(rows, -1, -1)
    starts = (ends[:, :, None, None] - 1).expand(-1, -1, aliases, length + 1).reshape(rows, -1, 1)
    context = columns < starts  # [N, E, T] a copy sees what its original saw
    own = torch.arange(count * aliases, device=ends.device).repeat_interleave(length + 1)
    inside = torch.arange(len(own), device=ends.device)
    among = ((own[:, None] == own) & (inside[:, None] >= inside))[None].expand(rows, -1, -1)
    hidden = causal.new_zeros(rows, width, len(own))
    mask = torch.cat([torch.cat([causal, hidden], 2), torch.cat([context, among], 2)], 1)
    return ids, positions, mask[:, None]


def _separate(
    policy: nn.Module, batch: RolloutBatch, temperature: float, max_tokens: int | None
) -> Float[Tensor, "N K1 A"]:
    """A sequence for each row, turn end and alias: the context and then the probe."""
    assert batch.probe_ids is not None
    assert batch.probe_scored is not None
    rows, aliases, length = batch.probe_ids.shape
    ends = batch.turn_ends.shape[1]
    result = batch.sampling_logprobs.new_zeros(rows, ends, aliases)
    wanted = (batch.turn_ends >= 0)[..., None] & batch.probe_scored.any(-1)[:, None]
    row, end, alias = wanted.nonzero().unbind(1)
    lengths = batch.turn_ends[row, end] + length
    for chosen in chunks(lengths, max_tokens):
        width = int(lengths[chosen].max())
        ids = torch.zeros(len(chosen), width, dtype=torch.int64, device=row.device)
        scored = torch.zeros_like(ids, dtype=torch.bool)
        for line, entry in enumerate(chosen.tolist()):
            start = int(batch.turn_ends[row[entry], end[entry]])
            ids[line, :start] = batch.input_ids[row[entry], :start]
            ids[line, start : start + length] = batch.probe_ids[row[entry], alias[entry]]
            scored[line, start : start + length] = batch.probe_scored[row[entry], alias[entry]]
        first = int(scored.any(0).nonzero()[0])  # at least 1: a probe has a context
        logits = policy(input_ids=ids, use_cache=False, logits_to_keep=width - first + 1).logits[:, :-1]
        wanted_here = scored[:, first:]
        logprobs = torch.zeros(wanted_here.shape, dtype=torch.float32, device=ids.device)
        logprobs[wanted_here] = token_logprobs(logits[wanted_here], ids[:, first:][wanted_here], temperature)
        result[row[chosen], end[chosen], alias[chosen]] = masked_mean(logprobs, wanted_here, 1).to(result)
    return result
