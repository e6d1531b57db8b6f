"""Saved rollouts as one HTML page (`agentrl view`): every turn, tool call and its credit, without a server."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import torch

from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.inspector.figures import question
from lightning_agentrl.inspector.opinions import Opinion, saved_opinion
from lightning_agentrl.inspector.recredit import chosen, opinions_of
from lightning_agentrl.rollout.bundle import Bundle

DIGITS = 4
"""Of a credit in the page."""


def view(
    run: Path,
    vs: list[CreditAssigner] = [],  # noqa: B006 - never changed
    epoch: int | None = None,
    ckpt: Path | None = None,
    out: Path | None = None,
) -> str:
    """Write one self-contained HTML page of saved rollouts, with the credit that they were trained with.

    Args:
        run: folder of a run, or of one saved collection.
        vs: assigners to show beside that credit.
        epoch: which collection of the run; the last one by default.
        ckpt: checkpoint of the run; computes signals that were not saved.
        out: the page; ``view.html`` beside the collection by default.

    Returns:
        Where the page is.
    """
    saved = chosen(run, epoch)
    opinions = [saved_opinion(saved.batch, _trained_with(saved))]
    opinions += opinions_of(saved, vs, ckpt)[0] if vs else []
    path = out or saved.folder / "view.html"
    path.write_text(page(saved, opinions), encoding="utf-8")
    return f"Open {path} in a browser."


def page(saved: Bundle, opinions: Sequence[Opinion]) -> str:
    """The page. What models and tools wrote is data in it, never markup, and no script but ours may run."""
    parts = resources.files("lightning_agentrl.inspector")
    script = parts.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    meta = saved.meta
    content = {
        "title": f"Epoch {meta['epoch']}: {len(saved.records)} rollouts",
        "about": f"policy of step {meta['policy_version']}",
        "assigners": [{"name": opinion.label, "scale": _scale(opinion)} for opinion in opinions],
        "rollouts": [_rollout(saved, row, opinions) for row in range(len(saved.records))],
    }
    return Template(parts.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        TITLE="Rollouts and their credit",
        DATA=_embedded(content),
        SCRIPT=script,
        SCRIPT_HASH=f"sha256-{digest}",
    )


def _embedded(content: Any) -> str:
    """JSON that a parser of HTML reads as text up to our own end tag."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _rollout(saved: Bundle, row: int, opinions: Sequence[Opinion]) -> dict[str, Any]:
    record = saved.records[row]
    inherited = record["origin"]["column"] if record["origin"] else 0
    said = [column for turn in record["turns"] for column in range(turn["start"], turn["start"] + len(turn["tokens"]))]
    columns = torch.tensor(said, dtype=torch.int64)
    turns, first = [], 0
    for turn in record["turns"]:
        turns.append({**_turn(turn, inherited), "first": first})
        first += len(turn["tokens"])
    last = record["turns"][-1] if record["turns"] else None
    return {
        "id": str(record["id"]),  # 63 bits, which JavaScript's numbers do not hold
        "parent": str(record["origin"]["parent"]) if record["origin"] else None,
        "question": question(record),
        **{key: record[key] for key in ("group", "sample", "task", "messages", "answers", "answer", "outcome", "stop")},
        "reward": record["reward"],
        "parts": record["reward_parts"],
        "start": record["prompt_tokens"],
        "inherited": inherited,
        "end": last["start"] + len(last["tokens"]) + last["observation_tokens"] if last else record["prompt_tokens"],
        "turns": turns,
        "credit": {opinion.label: _credit(opinion, row, columns, len(turns)) for opinion in opinions},
        "apart": _apart(opinions, row),
    }


def _turn(turn: Mapping[str, Any], inherited: int) -> dict[str, Any]:
    return {
        "tokens": turn["tokens"],
        "start": turn["start"],
        "heard": turn["observation"],
        "calls": [
            {"name": call["name"], "ok": call["ok"], "error": call["error_kind"], "ms": round(1000 * call["latency"])}
            for call in turn["tool_calls"]
        ],
        "seconds": turn["seconds"],
        "reward": turn["reward"],
        "penalty": turn["penalty"],
        "inherited": max(0, min(inherited - turn["start"], len(turn["tokens"]))),
    }


def _credit(opinion: Opinion, row: int, columns: torch.Tensor, turns: int) -> dict[str, Any]:
    batch = opinion.batch
    assert batch.advantages is not None
    trained, values = batch.trainable[row, columns].tolist(), batch.advantages[row, columns].tolist()
    of_turns = zip(opinion.turns[row, :turns].tolist(), opinion.trained[row, :turns].tolist(), strict=True)
    return {
        "tokens": [_round(value) if on else None for value, on in zip(values, trained, strict=True)],
        "turns": [_round(value) if on else None for value, on in of_turns],
        "parts": {name: [_round(v) for v in part[row, :turns].tolist()] for name, part in batch.components.items()},
    }


def _apart(opinions: Sequence[Opinion], row: int) -> float:
    """Greatest distance between two opinions of a turn, each in units of its own scale."""
    if len(opinions) < 2:
        return 0.0
    scaled = torch.stack([opinion.turns[row] / _scale(opinion) for opinion in opinions])
    return float((scaled.amax(0) - scaled.amin(0)).max())


def _scale(opinion: Opinion) -> float:
    """Where the colours end: the credit that one token in fifty exceeds, so that an outlier does not fade the rest."""
    assert opinion.batch.advantages is not None
    sizes = opinion.batch.advantages[opinion.batch.trainable].abs()
    sizes = sizes[sizes > 0]
    return float(sizes.sort().values[int(0.98 * (len(sizes) - 1))]) if len(sizes) else 1.0


def _round(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def _trained_with(saved: Bundle) -> str:
    """Name of the assigner that the rollouts were trained with, as the configuration has it."""
    credit = ((saved.meta.get("config") or {}).get("model") or {}).get("credit")
    path = credit.get("class_path") if isinstance(credit, Mapping) else credit
    return f"{str(path).rsplit('.', 1)[-1]} (trained with)" if path else "trained with"
