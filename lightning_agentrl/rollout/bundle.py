"""Saved collections: one folder each, JSONL for people and one safetensors file for everything else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from lightning_agentrl.types import RolloutBatch, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCHEMA = 1
"""Raised when a reader of the old form would misread the new one."""


def save(
    folder: Path,
    trajectories: Sequence[Trajectory],
    batch: RolloutBatch,
    tokenizer: PreTrainedTokenizerBase,
    info: Mapping[str, Any],
) -> None:
    """Write ``rollouts.jsonl``, ``batch.safetensors`` and, last, ``meta.json``: without it the folder is not whole.

    Args:
        folder: made if absent; an earlier bundle in it is replaced.
        trajectories: in the row order of ``batch``.
        batch: with whatever signals and credit it holds.
        tokenizer: decodes the text for people.
        info: goes into ``meta.json``: epoch, policy version, credit …
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    with (folder / "rollouts.jsonl").open("w", encoding="utf-8") as file:
        for row, trajectory in enumerate(trajectories):
            file.write(json.dumps(_record(trajectory, batch, row, tokenizer), ensure_ascii=False) + "\n")
    tensors = {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), torch.Tensor)}
    tensors |= {f"components.{name}": value for name, value in batch.components.items()}
    # The format refuses tensors that share memory, as a loss mask that is the action mask does.
    save_file({name: value.cpu().contiguous().clone() for name, value in tensors.items()}, folder / "batch.safetensors")
    meta = {"schema": SCHEMA, "rollouts": len(trajectories), **info}
    part = folder / "meta.json.part"
    part.write_text(json.dumps(meta, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(part, folder / "meta.json")


def load(folder: Path) -> tuple[list[dict[str, Any]], RolloutBatch, dict[str, Any]]:
    """Records, batch and meta data of a saved collection.

    Raises:
        ValueError: if the folder holds no whole bundle, or one of another schema.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no whole trajectory bundle: meta.json, which is written last, is missing.")
    meta = json.loads(path.read_text(encoding="utf-8"))
    if meta.get("schema") != SCHEMA:
        raise ValueError(f"{folder} was written with bundle schema {meta.get('schema')}; this version reads {SCHEMA}.")
    with (folder / "rollouts.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    tensors: dict[str, Any] = load_file(folder / "batch.safetensors")
    components = {name.removeprefix("components."): tensors.pop(name) for name in list(tensors) if "." in name}
    return records, RolloutBatch(**tensors, components=components), meta


def _record(
    trajectory: Trajectory, batch: RolloutBatch, row: int, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    reward = trajectory.reward
    return {
        "id": trajectory.id,
        "group": trajectory.group,
        "sample": trajectory.sample,
        "origin": asdict(trajectory.origin) if trajectory.origin else None,
        "task": trajectory.task.id,
        "messages": [dict(message) for message in trajectory.task.messages],
        "answers": list(trajectory.task.answers),
        "outcome": trajectory.outcome,
        "reward": reward.shaped if reward else None,
        "reward_components": dict(reward.components) if reward else {},
        "stop": str(trajectory.stop),
        "prompt": trajectory.prompt.text(tokenizer),
        "turns": [
            {
                "action": turn.action.text(tokenizer),
                "observation": turn.observation.text(tokenizer) if turn.observation else None,
                "tool_calls": [
                    {"name": c.name, "arguments": dict(c.arguments), "ok": c.ok, "error_kind": c.error_kind,
                     "latency": c.latency} for c in turn.tool_calls
                ],
                "reward": turn.reward,
                "policy_version": turn.policy_version,
                "tokens": len(turn.action),
                "cached_tokens": turn.cached_tokens,
                "credit": {name: float(values[row, number]) for name, values in batch.components.items()},
            }
            for number, turn in enumerate(trajectory.turns)
        ],
    }  # fmt: skip
