"""A `RolloutBatch` from plain Python lists, in one readable call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.types import (
    BranchPoint,
    Reward,
    RolloutBatch,
    Segment,
    StopReason,
    Task,
    Trajectory,
    Turn,
)

PER_TOKEN = frozenset(
    "old_logprobs current_logprobs ref_logprobs entropies sampling_logprobs sampling_entropies".split()
)
PER_TURN = frozenset(["state_keys", "answer_logprobs"])


def rollouts(
    turns: Sequence[Sequence[int]],
    rewards: Sequence[float],
    groups: Sequence[int] | None = None,
    *,
    prompt: int = 2,
    observation: int = 2,
    answered: Sequence[bool] | None = None,
    outcomes: Sequence[float] | None = None,
    truncated: Sequence[bool] | None = None,
    turn_rewards: Sequence[Sequence[float]] | None = None,
    turn_penalties: Sequence[Sequence[float]] | None = None,
    parents: Sequence[int] | None = None,
    inherited: Sequence[int] | None = None,
    **signals: Sequence[Sequence[float]],
) -> RolloutBatch:
    """Rollouts of given shape, laid out by the same `collate` that training uses.

    ``rollouts([[2, 3], [1]], rewards=[1, 0])`` is two siblings: one of two turns with 2 and 3 action tokens, one of a
    single turn with 1. Between turns lie ``observation`` tokens; before the first, ``prompt``.

    Args:
        turns: action tokens of each turn of each trajectory.
        rewards: shaped outcome per trajectory.
        groups: prompt of each trajectory; one group if omitted.
        prompt: tokens of every prompt.
        observation: tokens of every observation.
        answered: whether the last turn ended the trajectory (True, the default) or an observation followed it.
        outcomes: raw outcome per trajectory, if it is not the reward.
        truncated: whether a limit cut the trajectory.
        turn_rewards: process reward per turn.
        turn_penalties: penalty per turn.
        parents: trajectory number of the parent, −1 for a root. Trajectories are numbered 0…N−1.
        inherited: leading columns copied from the parent.
        signals: any other field of the batch. ``old_logprobs``, ``entropies`` and their like take one number per
            action token, in order; ``state_keys`` one per turn; ``answer_logprobs`` one after 0…K turns.

    Raises:
        ValueError: when a list does not have as many entries as there are trajectories, tokens or turns.
    """
    count = len(turns)
    columns: dict[str, Sequence[Any] | None] = {
        "rewards": rewards,
        "groups": groups,
        "answered": answered,
        "outcomes": outcomes,
        "truncated": truncated,
        "turn_rewards": turn_rewards,
        "turn_penalties": turn_penalties,
        "parents": parents,
        "inherited": inherited,
        **signals,
    }
    for name, values in columns.items():
        if values is not None and len(values) != count:
            raise ValueError(f"{name} must have one entry per trajectory ({count}), got {len(values)}.")
    trajectories = []
    for row in range(count):
        parent = -1 if parents is None else parents[row]
        trajectories.append(
            Trajectory(
                id=row,
                group=0 if groups is None else groups[row],
                sample=row,
                task=Task(str(row), ()),
                prompt=Segment(tuple(range(1, prompt + 1)), sampled=False),
                turns=_turns(
                    turns[row],
                    observation,
                    True if answered is None else answered[row],
                    None if turn_rewards is None else turn_rewards[row],
                    None if turn_penalties is None else turn_penalties[row],
                ),
                reward=Reward(outcome=rewards[row] if outcomes is None else outcomes[row], shaped=rewards[row]),
                stop=StopReason.MAX_TURNS if truncated is not None and truncated[row] else StopReason.FINISHED,
                origin=None if parent < 0 else BranchPoint(parent, 0 if inherited is None else inherited[row]),
            )
        )
    batch = collate(trajectories)
    return replace(batch, **{name: _signal(name, values, batch) for name, values in signals.items()})  # type: ignore[arg-type]


def _turns(
    sizes: Sequence[int],
    observation: int,
    answered: bool,
    rewards: Sequence[float] | None,
    penalties: Sequence[float] | None,
) -> tuple[Turn, ...]:
    for name, values in {"turn_rewards": rewards, "turn_penalties": penalties}.items():
        if values is not None and len(values) != len(sizes):
            raise ValueError(f"{name} must have one entry per turn ({len(sizes)}), got {len(values)}.")
    result = []
    for number, size in enumerate(sizes):
        last = number + 1 == len(sizes)
        result.append(
            Turn(
                action=Segment(tuple(100 + number for _ in range(size)), sampled=True, logprobs=(-1.0,) * size),
                observation=None if last and answered else Segment((50,) * observation, sampled=False),
                reward=0.0 if rewards is None else rewards[number],
                penalty=0.0 if penalties is None else penalties[number],
                state_key=number,
            )
        )
    return tuple(result)


def _signal(name: str, values: Sequence[Sequence[float]], batch: RolloutBatch) -> Tensor | Mapping[str, Tensor]:
    if name in PER_TOKEN:
        filled = torch.zeros(batch.input_ids.shape)
        for row, numbers in enumerate(values):
            wanted = int(batch.action_mask[row].sum())
            if len(numbers) != wanted:
                raise ValueError(f"{name}[{row}] must have one number per action token ({wanted}), got {len(numbers)}.")
            filled[row, batch.action_mask[row]] = torch.tensor(numbers, dtype=torch.float32)
        return filled
    if name == "state_keys":
        keys = torch.zeros(batch.turn_mask.shape, dtype=torch.int64)
        for row, numbers in enumerate(values):
            keys[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
        return keys
    if name == "answer_logprobs":
        gains = torch.full(batch.turn_ends.shape, float("nan"))
        for row, numbers in enumerate(values):
            gains[row, : len(numbers)] = torch.tensor(numbers)
        return gains.masked_fill(batch.turn_ends < 0, float("nan"))
    raise ValueError(f"{name} is not a signal; known: {', '.join(sorted(PER_TOKEN | PER_TURN))}.")
