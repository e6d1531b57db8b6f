"""The words of rollouts, each token shaded by its credit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_agentrl.figures.canvas import CREDIT, canvas, limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 110
"""Characters per line."""
SIZE = 6.5
"""Of letters, in points."""
LETTER, LINE = 0.602 * SIZE / 72, 1.35 * SIZE / 72
"""Width of a letter of DejaVu Sans Mono, matplotlib's monospace font, and height of a line, in inches."""
TITLE = 1.9
"""Height of a title, in lines."""
PALE = 0.27
"""Half of the colour scale that is used: black on its dark ends could not be read."""
MOST_LINES = 28
"""Lines per rollout; what follows is left out and said so."""


@dataclass(frozen=True)
class Strip:
    """A rollout in pieces of text."""

    title: str
    pieces: Sequence[str]
    credit: Sequence[float]
    """Of each piece; NaN for what the policy did not say, which is drawn in grey."""


def token_strips(strips: Sequence[Strip]) -> Figure:
    """Rollouts below one another, with one colour scale for all of them, symmetric around 0."""
    end = limit(np.concatenate([np.asarray(strip.credit, dtype=float) for strip in strips] or [np.zeros(0)]))
    laid = [_lines(strip) for strip in strips]
    heights = [(TITLE + max(len(lines), 1)) * LINE for lines in laid]
    width, height = COLUMNS * LETTER, max(sum(heights), LINE)
    top = height
    with canvas(len(strips), 1, width, height) as (figure, axes):
        figure.set_layout_engine("none")  # letters and shading stay in step only if a column is as wide as a letter
        for axis, strip, lines, tall in zip(axes, strips, laid, heights, strict=True):
            top -= tall
            axis.set_position((0, top / height, 1, (tall - TITLE * LINE) / height))
            _draw(axis, strip, lines, end)
    return figure


Line = list[tuple[int, str, float]]
"""Column, text and credit of each piece on a line."""


def _lines(strip: Strip) -> list[Line]:
    lines: list[Line] = [[]]
    column = 0
    for piece, credit in zip(strip.pieces, strip.credit, strict=True):
        for part_number, part in enumerate(piece.replace("\t", " ").split("\n")):
            if part_number:  # a line break in the text is one here
                lines.append([])
                column = 0
            while part:
                room = COLUMNS - column
                lines[-1].append((column, part[:room], credit))
                column += len(part[:room])
                part = part[room:]
                if part:
                    lines.append([])
                    column = 0
    lines = [line for line in lines if line]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], [(0, f"… {more} more lines", float("nan"))]]


def _draw(axis: Axes, strip: Strip, lines: Sequence[Line], end: float) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    axis.set_xlim(0, COLUMNS)
    axis.set_ylim(max(len(lines), 1), 0)
    axis.set_axis_off()
    axis.set_title(strip.title, loc="left", parse_math=False, pad=3)
    shaded = [(row, *part) for row, line in enumerate(lines) for part in line if np.isfinite(part[2])]
    boxes = [Rectangle((column, row), len(text), 1) for row, column, text, _ in shaded]
    colours = colormaps[CREDIT]([0.5 + PALE * credit / end for *_, credit in shaded])
    axis.add_collection(PatchCollection(boxes, facecolor=colours, linewidth=0))
    words: dict[str, Any] = {"family": "monospace", "fontsize": SIZE, "va": "center_baseline", "parse_math": False}
    for row, line in enumerate(lines):
        for said, ink in ((True, "#111111"), (False, "#888888")):
            parts = [(column, text) for column, text, credit in line if bool(np.isfinite(credit)) is said]
            if parts:
                axis.text(0, row + 0.5, _spaced(parts), color=ink, **words)


def _spaced(parts: Sequence[tuple[int, str]]) -> str:
    """One line with each part in its column."""
    line = ""
    for column, text in parts:
        line = line.ljust(column) + text
    return line
