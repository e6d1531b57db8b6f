"""Which rollouts of a collection to show, and the credit of their turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_agentrl.ops import turn_mean
from lightning_agentrl.rollout.collection import Collection


def turn_credit(collection: Collection) -> np.ndarray:
    """Mean advantage of each turn's trained tokens [N, K]; NaN where nothing of it is trained."""
    batch = collection.batch
    assert batch.advantages is not None
    ids, count = batch.turn_ids.masked_fill(~batch.trainable, -1), batch.turn_mask.shape[1]
    trained = turn_mean(batch.trainable.float(), ids, count) > 0
    values: np.ndarray = turn_mean(batch.advantages, ids, count).masked_fill(~trained, float("nan")).numpy()
    return values


def most_mixed(groups: Sequence[int], rewards: Sequence[float], count: int) -> list[int]:
    """Prompts whose rollouts differ most in reward, those first: there credit has something to say."""
    spread = _spread(groups, rewards)
    return sorted(spread, key=lambda group: (-spread[group], group))[:count]


def telling(groups: Sequence[int], rewards: Sequence[float], count: int) -> list[int]:
    """Rows from best to worst, evenly apart: of the most mixed prompt, or of all where no prompt is mixed."""
    spread = _spread(groups, rewards)
    (group,) = most_mixed(groups, rewards, 1)
    rows = [row for row in range(len(groups)) if groups[row] == group or not spread[group]]
    rows.sort(key=lambda row: (-np.nan_to_num(rewards[row]), row))
    count = min(count, len(rows))
    return [rows[round(place * (len(rows) - 1) / max(count - 1, 1))] for place in range(count)]


def _spread(groups: Sequence[int], rewards: Sequence[float]) -> dict[int, float]:
    known: dict[int, list[float]] = {group: [] for group in groups}
    for group, reward in zip(groups, rewards, strict=True):
        if np.isfinite(reward):
            known[group].append(reward)
    return {group: float(np.std(found)) if found else 0.0 for group, found in known.items()}
