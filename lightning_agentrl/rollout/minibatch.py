"""One collection to S × A micro-batches: how many is a function of the configuration only."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from itertools import groupby, pairwise

import torch

from lightning_agentrl.types import RolloutBatch


def cut(
    batch: RolloutBatch,
    *,
    ppo_epochs: int,
    minibatches: int,
    accumulate: int,
    rng: random.Random,
    drops_idle: bool = True,
) -> list[list[RolloutBatch]]:
    """Optimizer steps of equally many rows, each of ``accumulate`` micro-batches balanced by the tokens they compute.

    A prompt's rows stay together where counts allow, since they share tokens.

    Every row is in exactly one micro-batch per PPO epoch. Where there are too few rows, a micro-batch is one row
    whose loss mask is empty, so that every rank runs the same number of forwards.
    """
    costs = _costs(batch, drops_idle)
    groups = batch.group_ids.tolist()
    return [
        [_rows(batch, micro) for micro in _balance(_units(step, groups, accumulate), costs, accumulate)]
        for _ in range(ppo_epochs)
        for step in _steps(_by_prompt(groups, rng), minibatches)
    ]


def _by_prompt(groups: list[int], rng: random.Random) -> list[int]:
    """All rows in random order, those of a prompt side by side: they share tokens that are then computed once."""
    place = {group: rng.random() for group in dict.fromkeys(groups)}
    return sorted(rng.sample(range(len(groups)), len(groups)), key=lambda row: place[groups[row]])


def _steps(rows: list[int], count: int) -> list[list[int]]:
    """Equally many rows each, with credit or without: a step's weights are fixed by what is in it."""
    ends = [len(rows) * number // count for number in range(count + 1)]
    return [rows[start:end] for start, end in pairwise(ends)]


def _units(rows: list[int], groups: list[int], parts: int) -> list[list[int]]:
    """What is kept together: a step's prompts, or single rows where there are fewer prompts than micro-batches."""
    prompts = [list(members) for _, members in groupby(rows, key=lambda row: groups[row])]
    return prompts if len(prompts) >= parts else [[row] for row in rows]


def _costs(batch: RolloutBatch, drops_idle: bool) -> list[float]:
    """Tokens of a row; one that the learner leaves out is nearly free."""
    tokens = batch.attention_mask.sum(1)
    used = batch.trainable
    if drops_idle and batch.advantages is not None:
        used = used & (batch.advantages != 0)
    return torch.where(used.any(1), tokens.float(), torch.full_like(tokens, 1e-3, dtype=torch.float32)).tolist()


def _balance(units: list[list[int]], costs: list[float], parts: int) -> list[list[int]]:
    """Dearest first to the lightest part; among equals the order of ``units`` decides."""
    heap = [(0.0, part) for part in range(parts)]
    result: list[list[int]] = [[] for _ in range(parts)]
    weighed = [(sum(costs[row] for row in unit), unit) for unit in units]
    for cost, unit in sorted(weighed, key=lambda pair: -pair[0]):
        load, part = heapq.heappop(heap)
        result[part] += unit
        heapq.heappush(heap, (load + cost, part))
    return result


def _rows(batch: RolloutBatch, rows: list[int]) -> RolloutBatch:
    if rows:
        return batch.select(torch.tensor(sorted(rows))).trim()
    filler = batch.select(torch.tensor([0]))
    assert filler.loss_mask is not None
    nobody = torch.full_like(filler.trajectory_ids, -1)  # so that it is not counted as a rollout
    return replace(filler, loss_mask=torch.zeros_like(filler.loss_mask), trajectory_ids=nobody).trim()
