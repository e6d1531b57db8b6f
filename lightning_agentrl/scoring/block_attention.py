"""Attention over packed prefix trees that computes little of what nobody sees.

A row of siblings is long, and most of it is hidden from the rest. A dense mask costs the square of the row, which eats
up what sharing the prefix saves as soon as siblings say more than they share. Here a block of consecutive queries
attends to just those keys that one of its queries sees: their ancestors, and each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

BLOCK = 256
"""Least queries of a block: smaller ones hide less from each other, but spend more on gathering the same keys."""


class Blocks(NamedTuple):
    """Consecutive queries, and the keys that they see."""

    size: int
    """Queries of each block but the last, which may have fewer."""
    keys: Int[Tensor, " K"]
    """Columns of the keys of all blocks, one block behind the other."""
    counts: list[int]
    """Keys of each block."""
    masks: list[Bool[Tensor, "1 1 Q K"]]
    """Which query of a block sees which of its keys."""


def cut_blocks(ends: Int[Tensor, " L"]) -> Blocks:
    """The blocks of a row of trees, given the column behind each token's last descendant."""
    columns = torch.arange(len(ends), device=ends.device)
    # A token sees all before it but those whose descendants have come to an end.
    depths = columns + 1 - torch.bincount(ends, minlength=len(ends) + 1).cumsum(0)[:-1]
    # No block has more than five times as many keys as queries, so gathered keys never outgrow the activations.
    size = max(BLOCK, int(depths.max()) // 4)
    keys, masks = [], []
    for queries in columns.split(size):
        first, last = queries[0], queries[-1]
        seen = columns[(columns <= last) & (ends > first)]
        keys.append(seen)
        masks.append(((seen <= queries[:, None]) & (queries[:, None] < ends[seen]))[None, None])
    return Blocks(size, torch.cat(keys), [len(seen) for seen in keys], masks)


def block_attention(
    module: nn.Module,
    query: Float[Tensor, "N H L D"],
    key: Float[Tensor, "N G L D"],
    value: Float[Tensor, "N G L D"],
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Float[Tensor, "N L H D"], None]:
    """Hugging Face's attention function: block by block where the mask is the ends of trees, SDPA where it is another.

    Ends are int64 [1, 1, 1, L], which no other mask is.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None or attention_mask.dtype != torch.int64:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask not in _cut:
        _cut[attention_mask] = cut_blocks(attention_mask[0, 0, 0])
    size, keys, counts, masks = _cut[attention_mask]
    parts = [
        sdpa_attention_forward(module, *block, **options)[0]
        for block in zip(
            query.split(size, 2),
            key.index_select(2, keys).split(counts, 2),  # one gather for all blocks, one scatter in the backward
            value.index_select(2, keys).split(counts, 2),
            masks,
            strict=True,
        )
    ]
    return torch.cat(parts, 1), None


def was_understood(attention_mask: Tensor) -> bool:
    """Whether these ends have come to `block_attention`, and not something that the model has made of them."""
    return attention_mask in _cut


_cut = WeakTensorKeyDictionary()
"""Blocks of the rows at hand: cut by the first layer, used by all."""
