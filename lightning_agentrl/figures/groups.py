"""Rewards of each prompt's rollouts: where a group agrees with itself, nothing can be learned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.figures.canvas import SERIES, canvas, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reward_groups(
    groups: Sequence[int], rewards: Sequence[float], prompts: Mapping[int, str] | None = None, bins: int = 11
) -> Figure:
    """A histogram of rewards per prompt, as rows of dots whose area counts rollouts, least successful prompt first.

    Args:
        groups: prompt of each rollout.
        rewards: of each rollout, finite.
        prompts: text of each group.
        bins: of equal width between the least and the greatest reward.
    """
    values, of = np.asarray(rewards, dtype=float), np.asarray(groups)
    order = sorted(set(groups), key=lambda group: (values[of == group].mean(), group))
    low, high = float(values.min()), float(values.max())
    centres = np.linspace(low, high, bins) if high > low else np.asarray([low])
    with canvas(1, 1, 5.5 if prompts else 3.6, 0.8 + 0.2 * len(order)) as (figure, (axis,)):
        for row, group in enumerate(order):
            mine = values[of == group]
            nearest = np.abs(mine[:, None] - centres[None]).argmin(1)
            counts = np.bincount(nearest, minlength=len(centres))
            seen = counts > 0
            mixed = bool(mine.max() > mine.min())
            colour = SERIES[0] if mixed else "#999999"
            axis.scatter(centres[seen], np.full(seen.sum(), row), s=14 * counts[seen], color=colour, linewidth=0)
            axis.plot([mine.mean()], [row], marker="|", color="black", markersize=7)
        lines = [short((prompts or {}).get(group, str(group)), 44) for group in order]
        axis.set_yticks(range(len(order)), lines, fontsize=6)
        axis.set_ylim(-0.7, len(order) - 0.3)
        axis.set_xlabel("reward (dot: rollouts, bar: mean, grey: all equal, so no signal)")
        axis.grid(axis="y", color="#eeeeee")
        axis.set_axisbelow(True)
    return figure
