"""One collection to S × A micro-batches: how many is a function of the configuration only."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace

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

    Every row is in exactly one micro-batch per PPO epoch. Where there are too few rows, a micro-batch is one row
    whose loss mask is empty, so that every rank runs the same number of forwards.
    """
    costs = _costs(batch, drops_idle)
    return [
        [_rows(batch, micro) for micro in _balance(step, costs, accumulate)]
        for _ in range(ppo_epochs)
        for step in _steps(rng.sample(range(len(batch)), len(batch)), minibatches)
    ]


def _steps(rows: list[int], count: int) -> list[list[int]]:
    """Equally many rows each, with credit or without: a step's weights are fixed by what is in it."""
    return [rows[start::count] for start in range(count)]


def _costs(batch: RolloutBatch, drops_idle: bool) -> list[float]:
    """Tokens of a row; one that the learner leaves out is nearly free."""
    tokens = batch.attention_mask.sum(1)
    used = batch.trainable
    if drops_idle and batch.advantages is not None:
        used = used & (batch.advantages != 0)
    return torch.where(used.any(1), tokens.float(), torch.full_like(tokens, 1e-3, dtype=torch.float32)).tolist()


def _balance(rows: list[int], costs: list[float], parts: int) -> list[list[int]]:
    """Longest first to the lightest part; among equals the order of ``rows`` decides."""
    heap = [(0.0, part) for part in range(parts)]
    result: list[list[int]] = [[] for _ in range(parts)]
    for row in sorted(rows, key=lambda row: -costs[row]):
        load, part = heapq.heappop(heap)
        result[part].append(row)
        heapq.heappush(heap, (load + costs[row], part))
    return result


def _rows(batch: RolloutBatch, rows: list[int]) -> RolloutBatch:
    if rows:
        return batch.select(torch.tensor(sorted(rows))).trim()
    filler = batch.select(torch.tensor([0]))
    assert filler.loss_mask is not None
    nobody = torch.full_like(filler.trajectory_ids, -1)  # so that it is not counted as a rollout
    return replace(filler, loss_mask=torch.zeros_like(filler.loss_mask), trajectory_ids=nobody).trim()
