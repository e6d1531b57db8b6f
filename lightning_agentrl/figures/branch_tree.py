"""The rollouts of one prompt as a tree over tokens: where branches leave their parents, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.figures.canvas import CREDIT, canvas, limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Limb:
    """A rollout: its turns from where it leaves its parent."""

    id: int
    parent: int | None
    column: int
    """Where it leaves its parent, or the length of the prompt."""
    turns: Sequence[tuple[int, int, float]]
    """First and last column + 1 of each own turn's action, and its credit; NaN where it is not trained."""
    end: int
    """Length of the rollout."""
    reward: float | None


def branch_tree(limbs: Sequence[Limb], title: str = "") -> Figure:
    """Rollouts as lines over token columns; thick where the policy speaks, shaded by credit, thin where it listens.

    Branches stand below their parent, joined to it where they leave it.
    """
    order = _depth_first(limbs)
    rows = {limb.id: row for row, limb in enumerate(order)}
    end = limit([credit for limb in limbs for *_, credit in limb.turns])
    with canvas(1, 1, 8.0, 0.9 + 0.24 * len(order)) as (figure, (axis,)):
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        colours = colormaps[CREDIT]
        for limb in order:
            row = rows[limb.id]
            axis.plot([limb.column, limb.end], [row, row], color="#bbbbbb", linewidth=1, zorder=1)
            if limb.parent is not None and limb.parent in rows:
                axis.plot([limb.column] * 2, [rows[limb.parent], row], color="#666666", linewidth=0.8, zorder=1)
                axis.plot([limb.column], [rows[limb.parent]], marker="o", color="#666666", markersize=3, zorder=3)
            for first, last, credit in limb.turns:
                shade = colours(0.5 + 0.5 * credit / end) if np.isfinite(credit) else "#dddddd"
                axis.barh(row, last - first, left=first, height=0.55, color=shade, edgecolor="#555555", linewidth=0.4)
            label = "–" if limb.reward is None else f"{limb.reward:.2f}"
            axis.annotate(label, (limb.end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_xlabel("token (number at the end: reward)")
        axis.set_title(title, loc="left", parse_math=False)
        bar = figure.colorbar(ScalarMappable(Normalize(-end, end), CREDIT), ax=axis, pad=0.06, label="credit of a turn")
        bar.outline.set_visible(False)
    return figure


def _depth_first(limbs: Sequence[Limb]) -> list[Limb]:
    """Parents before their branches, early branches first; a limb whose parent is not here counts as a root."""
    known = {limb.id for limb in limbs}
    children: Mapping[int | None, list[Limb]] = {}
    below: dict[int | None, list[Limb]] = {}
    for limb in limbs:
        below.setdefault(limb.parent if limb.parent in known else None, []).append(limb)
    children = {parent: sorted(found, key=lambda limb: limb.column) for parent, found in below.items()}
    order: list[Limb] = []
    waiting = list(reversed(children.get(None, [])))
    while waiting:
        limb = waiting.pop()
        order.append(limb)
        waiting += reversed(children.get(limb.id, []))
    return order
