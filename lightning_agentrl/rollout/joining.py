"""Several batches as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from lightning_agentrl.types import TOKEN_FIELDS, RolloutBatch

FILL = {"turn_ids": -1, "turn_ends": -1, "parent_ids": -1, "answer_logprobs": math.nan}
"""What stands where a row has nothing; elsewhere it is 0."""


def joined(parts: Sequence[RolloutBatch]) -> RolloutBatch:
    """The rows of all parts, in order, padded to common widths.

    A field that only some parts have is filled up for the others: their rows must not be asked for it, as rows that
    nothing trains are not.
    """
    found: dict[str, object] = {}
    for field in fields(RolloutBatch):
        if field.name == "components":
            continue
        values = [getattr(part, field.name) for part in parts]
        found[field.name] = None if all(value is None for value in values) else _stack(field.name, values, parts)
    if any(part.loss_mask is not None for part in parts):
        found["loss_mask"] = _stack("loss_mask", [part.trainable for part in parts], parts)
    names = dict.fromkeys(name for part in parts for name in part.components)
    components = {name: _stack(name, [part.components.get(name) for part in parts], parts) for name in names}
    return RolloutBatch(**found, components=components)  # type: ignore[arg-type]


def _stack(name: str, values: Sequence[Tensor | None], parts: Sequence[RolloutBatch]) -> Tensor:
    known = [value for value in values if value is not None]
    wide = [
        _as_wide(name, part, known[0]) if value is None else value for value, part in zip(values, parts, strict=True)
    ]
    shape = [max(sizes) for sizes in zip(*(value.shape[1:] for value in wide), strict=True)]
    fill = FILL.get(name, 0)
    padded = []
    for value, part in zip(values, parts, strict=True):
        rows = known[0].new_full((len(part), *shape), fill)
        if value is not None:
            rows[(slice(None), *(slice(size) for size in value.shape[1:]))] = value
        padded.append(rows)
    return torch.cat(padded)


def _as_wide(name: str, part: RolloutBatch, known: Tensor) -> Tensor:
    """What a part without a field has of the same width: its tokens or its turns, or nothing of the kind."""
    if name in TOKEN_FIELDS:
        return part.input_ids
    if known.dim() == 2:
        return part.turn_ends if name == "answer_logprobs" else part.turn_mask
    return known
