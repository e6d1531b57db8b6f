"""One rollout turn by turn: what was said, and what each assigner gave for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.figures.canvas import CREDIT, canvas, limit, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOM = 1.35
"""Ends of the colour scale, in units of a column's greatest magnitude: black on full blue could not be read."""


def turn_table(turns: Sequence[str], credit: Mapping[str, Sequence[float]], title: str = "", width: int = 56) -> Figure:
    """A cell per turn and assigner, with the number in it.

    Args:
        turns: what was said in each turn; on one line, cut to ``width`` characters.
        credit: by assigner, one number per turn; NaN where the turn is not trained. Each column has a colour scale of
            its own, symmetric around 0: assigners differ in scale more than in kind.
        title: above it all.
        width: of a turn's text.
    """
    values = np.asarray(list(credit.values()), dtype=float).T  # [K, assigners]
    ends = np.asarray([limit(column) for column in values.T])
    lines = [f"{number}  {short(text, width)}" for number, text in enumerate(turns, 1)]
    said = 0.062 * max(map(len, lines))
    with canvas(1, 1, said + 0.8 * values.shape[1], 0.75 + 0.26 * len(turns)) as (figure, (axis,)):
        axis.imshow(values / ends, cmap=CREDIT, vmin=-ROOM, vmax=ROOM, aspect="auto", interpolation="nearest")
        axis.set_facecolor("#e8e8e8")  # not trained
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axis.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(values.shape[1]), list(credit))
        axis.set_yticks(range(len(turns)), lines, family="monospace", fontsize=6.5, ha="left", parse_math=False)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.tick_params(axis="y", pad=72 * said)
        axis.set_xticks(np.arange(0.5, values.shape[1] - 1), minor=True)
        axis.grid(which="minor", axis="x", color="white", linewidth=3)
        axis.tick_params(which="minor", length=0)
        axis.spines[:].set_visible(False)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
    return figure
