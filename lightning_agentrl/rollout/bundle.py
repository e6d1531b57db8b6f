"""Saved collections: one portable folder each, JSONL for people and one safetensors file for everything else."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.rollout.records import record
from lightning_agentrl.rollout.soundness import check_records, check_shapes
from lightning_agentrl.types import RolloutBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCHEMA = 2
"""Raised when a reader of the old form would misread the new one."""
RECORDS, TENSORS, META = "rollouts.jsonl", "batch.safetensors", "meta.json"


@dataclass(frozen=True)
class Bundle:
    """A saved collection, read again; needs neither policy nor tokenizer."""

    folder: Path
    meta: Mapping[str, Any]
    """Schema, epoch, policy version, seed, credit, the resolved configuration (``config``), and whatever was added."""
    records: list[dict[str, Any]]
    """One per rollout, as `record` writes them; in the order of the rows."""
    batch: RolloutBatch
    """All tensors: tokens, masks, signals, rewards, credit and its components."""


def save(folder: Path, collection: Collection, tokenizer: PreTrainedTokenizerBase, info: Mapping[str, Any]) -> None:
    """Write records, tensors and, last, the meta data: without it the folder is not whole.

    Args:
        folder: made if absent; an earlier bundle in it is replaced.
        collection: with whatever signals and credit its batch holds.
        tokenizer: decodes the text for people.
        info: goes into the meta data: seed, credit, configuration …
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / META).unlink(missing_ok=True)
    batch, pieces = collection.batch.to("cpu"), Pieces(tokenizer)
    with (folder / RECORDS).open("w", encoding="utf-8") as file:
        for row, trajectory in enumerate(collection.trajectories):
            file.write(json.dumps(record(trajectory, batch, row, pieces), ensure_ascii=False) + "\n")
    tensors = {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), torch.Tensor)}
    tensors |= {f"components.{name}": value for name, value in batch.components.items()}
    # The format refuses tensors that share memory, as a loss mask that is the action mask does.
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, folder / TENSORS)
    meta = {
        "schema": SCHEMA,
        "lightning_agentrl": version("lightning-agentrl"),
        "rollouts": len(collection.trajectories),
        "split": collection.split,
        "epoch": collection.epoch,
        "policy_version": collection.policy_version,
        "critical_paths": [
            {"trajectory": path.trajectory.id, "waits": [asdict(wait) for wait in path.waits], "saved": path.saved}
            for path in collection.paths
        ],
        **info,
    }
    part = folder / f"{META}.part"
    part.write_text(json.dumps(meta, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    os.replace(part, folder / META)


def load(folder: Path) -> Bundle:
    """Read a saved collection.

    A torn last line, which a copy that was cut short leaves behind, is left out with a warning.

    Raises:
        ValueError: if the folder holds no whole bundle, one of another schema, or a damaged one.
    """
    meta = read_meta(folder)
    records = _records(folder / RECORDS)
    try:
        tensors: dict[str, Any] = load_file(folder / TENSORS)
        components = {name.removeprefix("components."): tensors.pop(name) for name in list(tensors) if "." in name}
        batch = RolloutBatch(**tensors, components=components)
        check_shapes(batch)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / TENSORS} is damaged or missing: {error}. Copy the bundle again.") from error
    try:
        check_records(records, batch)
    except ValueError as error:
        raise ValueError(f"{folder / RECORDS} is damaged: {error}. Copy the bundle again.") from error
    if len(records) < len(batch):
        warnings.warn(f"{folder}: only {len(records)} of {len(batch)} rollouts are whole.", stacklevel=2)
        batch = batch.select(torch.arange(len(records)))
    return Bundle(folder, meta, records[: len(batch)], batch)


def read_meta(folder: Path) -> dict[str, Any]:
    """What a saved collection says of itself, without reading it.

    Raises:
        ValueError: if the folder holds no whole bundle, one of another schema, or damaged meta data.
    """
    path = folder / META
    if not path.is_file():
        raise ValueError(f"{folder} holds no whole trajectory bundle: {META}, which is written last, is missing.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        schema = meta["schema"]
        if schema == SCHEMA:
            meta["epoch"], meta["policy_version"] = int(meta["epoch"]), int(meta["policy_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged: it should hold schema, epoch and policy version. Copy the bundle again."
        ) from error
    if schema != SCHEMA:
        raise ValueError(
            f"{folder} was written with bundle schema {schema}; this version reads {SCHEMA}. Read it with the version "
            f"that wrote it, or save the rollouts again."
        )
    return dict(meta)


def find(run: Path) -> list[Path]:
    """Folders of the bundles at or below a folder, oldest collection first.

    Raises:
        ValueError: if there is none.
    """
    found = sorted(path.parent for path in run.rglob(META) if (path.parent / RECORDS).is_file())
    if not found:
        raise ValueError(
            f"There are no saved rollouts below {run}. Training saves them with --bundles.every_n_epochs 1 (the quick "
            f"start does so every few epochs)."
        )
    return found


def _records(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ValueError(f"{path} is missing: {error}. Copy the bundle again.") from error
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line, parse_constant=_refuse))
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ValueError(f"{path}, line {number} is not valid JSON. Copy the bundle again.") from error
    return records


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity as JSON; others do not, and neither does the page that shows rollouts."""
    raise ValueError(f"{constant} is not JSON")
