"""What several assigners say of the same rollouts, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_agentrl.figures.heat_map import turn_heat_map
from lightning_agentrl.inspector.opinions import Opinion

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compare(records: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion], prompts: int = 4) -> Figure:
    """Heat maps side by side, of the prompts on which the assigners differ most.

    Args:
        records: of the rollouts.
        opinions: one panel each.
        prompts: how many prompts to draw.
    """
    credit = {opinion.label: np.where(opinion.trained, opinion.turns, np.nan) for opinion in opinions}
    groups = np.asarray([record["group"] for record in records])
    apart = _disagreement(list(credit.values()))
    chosen = sorted(set(groups.tolist()), key=lambda group: (-apart[groups == group].mean(), group))[:prompts]
    rows = [row for row, group in enumerate(groups) if group in chosen]
    return turn_heat_map(
        {label: values[rows] for label, values in credit.items()},
        groups[rows].tolist(),
        [records[row]["reward"] for row in rows],
        {records[row]["group"]: question(records[row]) for row in rows},
    )


def question(record: Mapping[str, Any]) -> str:
    """What the policy was asked: its last message from the user."""
    asked = [message["content"] for message in record["messages"] if message["role"] == "user"]
    return str(asked[-1]) if asked else str(record["task"])


def _disagreement(credit: Sequence[np.ndarray]) -> np.ndarray:
    """Of each row: greatest distance between two assigners at a turn, each in units of its own spread."""
    spreads = [float(np.nanstd(values)) if np.isfinite(values).any() else 0.0 for values in credit]
    scaled = np.stack([np.nan_to_num(values) / (spread or 1.0) for values, spread in zip(credit, spreads, strict=True)])
    apart: np.ndarray = (scaled.max(0) - scaled.min(0)).max(1)
    return apart
