"""Saved rollouts as one HTML page (`agentrl view`): every turn, tool call and its credit, without a server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import torch
from torch import Tensor

from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.inspector.figures import question
from lightning_agentrl.inspector.opinions import Opinion, saved_opinion
from lightning_agentrl.inspector.recredit import chosen, opinions_of
from lightning_agentrl.rollout.bundle import Bundle

DIGITS = 4
"""Of a credit in the page."""
SCRIPTS = ("base.js", "list.js", "rollout.js", "branches.js", "start.js")
"""In this order they are one script."""


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
    script = "".join(parts.joinpath("page", name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    meta, columns = saved.meta, [_column(opinion) for opinion in opinions]
    apart = _apart(opinions)
    content = {
        "title": f"Epoch {meta['epoch']}: {len(saved.records)} rollouts",
        "about": f"policy of step {meta['policy_version']}",
        "assigners": [{"name": column.label, "scale": column.scale} for column in columns],
        "rollouts": [_rollout(record, row, columns, apart[row]) for row, record in enumerate(saved.records)],
    }
    return Template(parts.joinpath("page", "page.html").read_text(encoding="utf-8")).substitute(
        TITLE="Rollouts and their credit",
        STYLE=parts.joinpath("page", "style.css").read_text(encoding="utf-8"),
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


@dataclass(frozen=True)
class _Column:
    """One assigner's credit as plain lists, made once for all rollouts."""

    label: str
    scale: float
    tokens: list[list[float | None]]
    """Of each row and column of the batch; None where it is not trained."""
    turns: list[list[float | None]]
    parts: dict[str, list[list[float | None]]]


def _column(opinion: Opinion) -> _Column:
    batch = opinion.batch
    assert batch.advantages is not None
    return _Column(
        opinion.label,
        _scale(opinion),
        _rounded(batch.advantages, batch.trainable),
        _rounded(opinion.turns, opinion.trained),
        {name: _rounded(part, part.isfinite()) for name, part in batch.components.items()},
    )


def _rounded(values: Tensor, known: Tensor) -> list[list[float | None]]:
    rows = zip(values.double().round(decimals=DIGITS).tolist(), (known & values.isfinite()).tolist(), strict=True)
    return [[value if on else None for value, on in zip(*row, strict=True)] for row in rows]


def _rollout(record: Mapping[str, Any], row: int, columns: Sequence[_Column], apart: float) -> dict[str, Any]:
    inherited = record["origin"]["column"] if record["origin"] else 0
    turns = record["turns"]
    last = turns[-1] if turns else None
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
        "turns": [_turn(turn, inherited) for turn in turns],
        "credit": {column.label: _credit(column, row, turns) for column in columns},
        "apart": round(apart, DIGITS),
    }


def _turn(turn: Mapping[str, Any], inherited: int) -> dict[str, Any]:
    return {
        "tokens": turn["tokens"],
        "start": turn["start"],
        "heard": turn["observation"],
        "calls": [
            {
                "name": call["name"],
                "ok": call["ok"],
                "error": call["error_kind"],
                "ms": round(1000 * call["latency"], 1),
            }
            for call in turn["tool_calls"]
        ],
        "seconds": turn["seconds"],
        "reward": turn["reward"],
        "penalty": turn["penalty"],
        "inherited": max(0, min(inherited - turn["start"], len(turn["tokens"]))),
    }


def _credit(column: _Column, row: int, turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tokens: list[Any] = []
    for turn in turns:
        values = column.tokens[row][turn["start"] : turn["start"] + len(turn["tokens"])]
        tokens.append(values[0] if len(set(values)) == 1 else values)  # most assigners give a turn one number
    return {
        "tokens": tokens,
        "turns": column.turns[row][: len(turns)],
        "parts": {name: part[row][: len(turns)] for name, part in column.parts.items()},
    }


def _apart(opinions: Sequence[Opinion]) -> list[float]:
    """Of each row: greatest distance between two opinions of a turn, each in units of its own scale."""
    scaled = torch.stack([opinion.turns / _scale(opinion) for opinion in opinions])  # [assigners, N, K]
    apart: list[float] = (scaled.amax(0) - scaled.amin(0)).amax(1).tolist()
    return apart


def _scale(opinion: Opinion) -> float:
    """Where the colours end: the credit that one token in fifty exceeds, so that an outlier does not fade the rest."""
    assert opinion.batch.advantages is not None
    sizes = opinion.batch.advantages[opinion.batch.trainable].abs()
    sizes = sizes[sizes > 0]
    return float(sizes.sort().values[int(0.98 * (len(sizes) - 1))]) if len(sizes) else 1.0


def _trained_with(saved: Bundle) -> str:
    """Name of the assigner that the rollouts were trained with, as the configuration has it."""
    credit = ((saved.meta.get("config") or {}).get("model") or {}).get("credit")
    path = credit.get("class_path") if isinstance(credit, Mapping) else credit
    return f"{str(path).rsplit('.', 1)[-1]} (trained with)" if path else "trained with"
