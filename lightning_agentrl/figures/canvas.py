"""One look for all figures: sizes, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "figure.dpi": 130,
    "figure.facecolor": "white",
}
CREDIT = "RdBu"
"""Red is discouraged, blue reinforced: safe for the common forms of colour blindness, and fading to white at 0."""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, for series without an order."""


@contextmanager
def canvas(rows: int, columns: int, width: float, height: float, **options: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in our style and its axes in reading order, to be drawn on inside the block; sizes in inches.

    The figure belongs to no window and no global list, so it need not be closed.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib: pip install lightning-agentrl[viz]") from error
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def save(figure: Figure, path: Path) -> None:
    """Write an image; the suffix says of which kind."""
    from matplotlib import rc_context

    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn, which says so well enough
        figure.savefig(path)


def limit(values: Sequence[float] | np.ndarray) -> float:
    """Where a colour scale around 0 ends: the greatest magnitude, or 1 where nothing but zeros is there."""
    known = np.abs(np.asarray(values, dtype=float))
    known = known[np.isfinite(known)]
    return float(known.max()) if known.size and known.max() > 0 else 1.0


def short(text: str, width: int) -> str:
    """Text on one line, cut to a number of characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
