"""Runs under torchrun: ranks with unequal trees make one step; its gradient is that of all rows on one rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from helpers import module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def trees() -> list[RolloutBatch]:
    """One prompt with two rollouts, and one with six of which four are branches, several turns each."""
    small = rollouts([[3], [2]], rewards=[1, 0], groups=[0, 0])
    turns = [[3, 2], [4, 1], [3, 6], [3, 2, 5], [4, 7], [3, 6, 2]]
    large = rollouts(
        turns, [1, 0, 0.5, 0, 1, 0.2], groups=[1] * 6, parents=[-1, -1, 0, 0, 1, 2], inherited=[0, 0, 6, 8, 7, 7]
    )
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randint(5, 200, large.input_ids.shape, generator=generator)
    ids = torch.where(torch.arange(large.input_ids.shape[1]) >= 8, noisy, large.input_ids)
    return [small, replace(large, input_ids=ids)]


class Rows(IterableDataset[RolloutBatch]):
    """What a data module would do with rows: credit, weights, micro-batches."""

    def __init__(self, learner: AgentRLModule, batches: list[RolloutBatch], accumulate: int) -> None:
        self.learner, self.batches, self.accumulate = learner, batches, accumulate

    def __len__(self) -> int:
        return self.accumulate

    def __iter__(self) -> Iterator[RolloutBatch]:
        credited = [self.learner.assign(batch) for batch in self.batches]
        (step,) = self.learner.weigh([credited], longest=10)
        yield from step


class Keep(Callback):
    """Saves the gradient that the optimizer is about to use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.is_global_zero:
            torch.save({name: p.grad for name, p in pl_module.named_parameters()}, self.path)


def main(policy: str, out: Path) -> None:
    """Train one step on this rank's share and save its gradient."""
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    learner = module(policy, credit=ARPO(), max_tokens=40)  # the large tree takes several forwards
    batches = trees() if ranks == 1 else [trees()[rank]]
    strategy = {"strategy": "ddp", "devices": 2} if ranks > 1 else {}
    runner = trainer(
        out,
        Keep(out / f"{ranks}.pt"),
        max_epochs=1,
        accumulate_grad_batches=len(batches),
        use_distributed_sampler=False,
        **strategy,
    )
    runner.fit(learner, DataLoader(Rows(learner, batches, len(batches)), batch_size=None))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
