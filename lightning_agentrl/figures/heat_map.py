"""Credit of every turn as a heat map: rollouts down, turns across, one panel per assigner."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.figures.canvas import CREDIT, canvas, limit, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = -44
"""Where the text of a prompt ends, in points from the panel: left of rewards and their title."""


def turn_heat_map(
    credit: Mapping[str, np.ndarray],
    groups: Sequence[int],
    rewards: Sequence[float | None],
    prompts: Mapping[int, str] | None = None,
) -> Figure:
    """Mean advantage of each turn.

    Args:
        credit: by assigner, [N, K]; NaN where a rollout has no such turn or it is not trained. Each panel has a colour
            scale of its own, symmetric around 0: assigners differ in scale more than in kind.
        groups: prompt of each rollout. Rollouts of a prompt stand together, best first.
        rewards: of each rollout, written beside its row.
        prompts: text of each group, written beside it where there is room.
    """
    order = sorted(range(len(groups)), key=lambda row: (groups[row], -(rewards[row] or 0.0)))
    rows, turns = next(iter(credit.values())).shape
    height = 1.0 + 0.16 * rows
    width = (1.0 + 0.34 * turns) * len(credit) + (2.6 if prompts else 0.8)
    ordered = [groups[row] for row in order]
    with canvas(1, len(credit), width, height, sharey=True) as (figure, axes):
        for axis, (name, values) in zip(axes, credit.items(), strict=True):
            _panel(axis, name, values[order], min(1.0, 3.0 / height))
            for place in range(1, rows):
                if ordered[place] != ordered[place - 1]:
                    axis.axhline(place - 0.5, color="#333333", linewidth=0.8)
        axes[0].set_yticks(range(rows), [_reward(rewards[row]) for row in order], fontsize=6)
        axes[0].set_ylabel("reward", fontsize=7)
        if prompts:
            _name_prompts(axes[0], ordered, prompts)
    return figure


def _panel(axis: Axes, name: str, values: np.ndarray, shrink: float) -> None:
    end = limit(values)
    image = axis.imshow(values, cmap=CREDIT, vmin=-end, vmax=end, aspect="auto", interpolation="nearest")
    axis.set_facecolor("#e8e8e8")  # no such turn
    axis.set_title(name)
    axis.set_xticks(range(values.shape[1]), [str(turn + 1) for turn in range(values.shape[1])])
    axis.set_xlabel("turn")
    bar = axis.figure.colorbar(image, ax=axis, shrink=shrink, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)


def _name_prompts(axis: Axes, ordered: Sequence[int], prompts: Mapping[int, str]) -> None:
    """Beside the middle of each block of rows."""
    middles = {group: np.mean([row for row, other in enumerate(ordered) if other == group]) for group in set(ordered)}
    for group, middle in middles.items():
        axis.annotate(
            "\n".join(textwrap.wrap(short(prompts.get(group, ""), 60), 24)),
            xy=(0, middle),
            xycoords=("axes fraction", "data"),
            xytext=(LABELS, 0),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="center",
            fontsize=6,
            annotation_clip=False,
        )


def _reward(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
