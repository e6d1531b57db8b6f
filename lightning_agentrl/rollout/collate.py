"""Trajectories to one right-padded `RolloutBatch`, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_agentrl.types import RolloutBatch, Trajectory


def collate(trajectories: Sequence[Trajectory], pad_id: int = 0) -> RolloutBatch:
    """Lay trajectories out as tensors, one row each, in the order given.

    Raises:
        ValueError: if there are none, or one has no prompt.
    """
    if not trajectories:
        raise ValueError("collate needs at least one trajectory, got none.")
    rows = [_Row(trajectory) for trajectory in trajectories]
    turns = max(1, *(len(row.trajectory.turns) for row in rows))
    has_entropies = all(turn.action.entropies is not None for row in rows for turn in row.trajectory.turns)
    return RolloutBatch(
        input_ids=_pad((row.ids for row in rows), torch.int64, pad_id),
        attention_mask=_pad(([True] * len(row.ids) for row in rows), torch.bool, False),
        action_mask=_pad(([turn >= 0 for turn in row.turn_of] for row in rows), torch.bool, False),
        turn_ids=_pad((row.turn_of for row in rows), torch.int64, -1),
        turn_mask=_pad(([True] * len(row.trajectory.turns) for row in rows), torch.bool, False, turns),
        process_mask=_pad(([end >= 0 for end in row.ends[1:]] for row in rows), torch.bool, False, turns),
        turn_ends=_pad((row.ends for row in rows), torch.int64, -1, turns + 1),
        sampling_logprobs=_pad((row.logprobs for row in rows), torch.float32, 0.0),
        outcomes=_column((row.trajectory.outcome for row in rows), torch.float32),
        rewards=_column((r.shaped if (r := row.trajectory.reward) else 0.0 for row in rows), torch.float32),
        truncated=_column((row.trajectory.stop.truncated for row in rows), torch.bool),
        group_ids=_column((row.trajectory.group for row in rows), torch.int64),
        trajectory_ids=_column((row.trajectory.id for row in rows), torch.int64),
        turn_rewards=_pad((row.turn_rewards for row in rows), torch.float32, 0.0, turns),
        turn_penalties=_pad(([t.penalty for t in row.trajectory.turns] for row in rows), torch.float32, 0.0, turns),
        parent_ids=_column((o.parent if (o := row.trajectory.origin) else -1 for row in rows), torch.int64),
        inherited=_column((o.column if (o := row.trajectory.origin) else 0 for row in rows), torch.int64),
        branch_score=_column((o.score if (o := row.trajectory.origin) else 0.0 for row in rows), torch.float32),
        state_keys=_pad(([t.state_key for t in row.trajectory.turns] for row in rows), torch.int64, 0, turns),
        sampling_entropies=_pad((row.entropies for row in rows), torch.float32, 0.0) if has_entropies else None,
    )


class _Row:
    """One trajectory, flattened to columns."""

    def __init__(self, trajectory: Trajectory) -> None:
        if not len(trajectory.prompt):
            raise ValueError(f"Trajectory {trajectory.id} has an empty prompt; a log-prob needs a token before it.")
        self.trajectory = trajectory
        self.ids: list[int] = list(trajectory.prompt.token_ids)
        self.turn_of: list[int] = [-1] * len(self.ids)
        self.logprobs: list[float] = [0.0] * len(self.ids)
        self.entropies: list[float] = [0.0] * len(self.ids)
        self.ends: list[int] = [len(self.ids)]
        for number, turn in enumerate(trajectory.turns):
            size = len(turn.action)
            self.ids += turn.action.token_ids
            self.turn_of += [number] * size
            self.logprobs += turn.action.logprobs or [0.0] * size
            self.entropies += turn.action.entropies or [0.0] * size
            seen = turn.observation.token_ids if turn.observation else ()
            self.ids += seen
            self.turn_of += [-1] * len(seen)
            self.logprobs += [0.0] * len(seen)
            self.entropies += [0.0] * len(seen)
            self.ends.append(len(self.ids) if turn.observation else -1)
        process = trajectory.reward.turns if trajectory.reward else ()
        given = [*process, *[0.0] * (len(trajectory.turns) - len(process))]
        self.turn_rewards = [turn.reward + extra for turn, extra in zip(trajectory.turns, given, strict=True)]


def _pad(rows: Iterable[Sequence[Any]], dtype: torch.dtype, fill: float, width: int | None = None) -> Tensor:
    rows = list(rows)
    width = max(map(len, rows)) if width is None else width
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=dtype)


def _column(values: Iterable[Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(values), dtype=dtype)
