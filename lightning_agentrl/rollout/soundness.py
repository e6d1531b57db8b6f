"""Whether records and tensors that were read from elsewhere belong together, before anything leans on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from lightning_agentrl.types import RolloutBatch

RECORD: dict[str, Any] = {
    "id": int,
    "group": int,
    "sample": int,
    "origin": dict | None,
    "task": str,
    "messages": list,
    "answers": list,
    "answer": str | None,
    "outcome": float | int | None,
    "reward": float | int | None,
    "reward_parts": dict,
    "stop": str,
    "prompt_tokens": int,
    "turns": list,
}
"""Fields of a record that readers need, and their types."""
TURN: dict[str, Any] = {
    "action": str,
    "tokens": list,
    "start": int,
    "observation": str,
    "observation_tokens": int,
    "tool_calls": list,
    "seconds": dict | None,
    "reward": float | int | None,
    "penalty": float | int | None,
}
"""The same, of a turn in it."""


def check_records(records: Sequence[Any], batch: RolloutBatch) -> None:
    """Raise a ValueError that names the first record which lacks a field, or whose turns lie outside its row."""
    rows, columns = batch.input_ids.shape
    for number, record in enumerate(records[:rows], start=1):
        _check_fields(record, RECORD, f"rollout {number}")
        if len(record["turns"]) > batch.turn_mask.shape[1]:
            raise ValueError(f"rollout {number} has more turns than its tensors")
        for turn in record["turns"]:
            _check_fields(turn, TURN, f"a turn of rollout {number}")
            if not 0 <= turn["start"] <= columns - len(turn["tokens"]):
                raise ValueError(f"a turn of rollout {number} lies outside the tokens of its row")


def check_shapes(batch: RolloutBatch) -> None:
    """Raise a ValueError that names the first tensor whose shape does not fit those before it."""
    sizes: dict[str, int] = {}
    tensors = [(f.name, _dimensions(str(f.type)), getattr(batch, f.name)) for f in fields(batch)]
    tensors += [(f"components.{name}", ["N", "K"], part) for name, part in batch.components.items()]
    for name, dimensions, tensor in tensors:
        if isinstance(tensor, Tensor):
            expected = [sizes.setdefault(d, s) for d, s in zip(dimensions, tensor.shape, strict=False)]
            if list(tensor.shape) != expected or len(dimensions) != tensor.dim():
                known = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
                wanted = " ".join(dimensions)
                raise ValueError(f"{name} has shape {list(tensor.shape)}; expected [{wanted}] with {known}")


def _check_fields(found: Any, expected: dict[str, Any], what: str) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no object")
    for name, kind in expected.items():
        if name not in found or not isinstance(found[name], kind) or isinstance(found[name], bool):
            raise ValueError(f"{what} has no sound {name!r}")


def _dimensions(annotation: str) -> list[str]:
    """`Float[Tensor, "N K"] | None` → N, K."""
    named = re.search(r"['\"]([^'\"]*)['\"]", annotation)
    return named.group(1).split() if named else []
