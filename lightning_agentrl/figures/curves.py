"""Logged numbers over a run, as small multiples: one chart per name, one line per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.figures.canvas import SERIES, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]
"""Step and value of each point."""


def curves(
    runs: Mapping[str, Mapping[str, Curve]],
    names: Sequence[str],
    *,
    columns: int = 3,
    logarithmic: Sequence[str] = (),
    bounds: Mapping[str, float] | None = None,
) -> Figure:
    """Charts of some numbers.

    Args:
        runs: by label, each run's curves by name. A run without one of the names has no line in that chart.
        names: one chart each, in order.
        columns: charts side by side.
        logarithmic: names whose axis is logarithmic; points that are not positive are left out there.
        bounds: by name, a value to draw as a dashed line, such as a tolerance.

    Raises:
        ValueError: when no run has a curve of some name.
    """
    absent = [name for name in names if not any(run.get(name) for run in runs.values())]
    if absent:
        known = ", ".join(sorted({name for run in runs.values() for name in run}))
        raise ValueError(f"No run has a curve of {', '.join(absent)}. There are: {known}.")
    rows, columns = math.ceil(len(names) / columns), min(columns, len(names))
    with canvas(rows, columns, 2.5 * columns, 1.75 * rows + 0.3 * (len(runs) > 1)) as (figure, axes):
        from matplotlib.ticker import MaxNLocator

        for axis in axes[len(names) :]:
            axis.set_axis_off()
        for axis, name in zip(axes, names, strict=False):
            for number, (label, run) in enumerate(runs.items()):
                points = np.asarray(run.get(name, ()), dtype=float).reshape(-1, 2)  # [points, 2]
                if name in logarithmic:
                    points = points[points[:, 1] > 0]
                colour = SERIES[number % len(SERIES)]
                axis.plot(*points.T, color=colour, linewidth=1.3, marker="o", markersize=2.2, label=label)
            if name in logarithmic:
                axis.set_yscale("log")
            if bounds and name in bounds:
                axis.axhline(bounds[name], color="#777777", linewidth=0.9, linestyle="--")
            axis.set_title(name, loc="left", parse_math=False)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axis.grid(color="#eeeeee")
            axis.set_axisbelow(True)
        for axis in axes[max(len(names) - columns, 0) : len(names)]:
            axis.set_xlabel("optimizer step")
        if len(runs) > 1:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure
