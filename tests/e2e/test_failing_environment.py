"""Training goes on where an environment's machinery fails now and then, and stops where it fails for good."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers import data, module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.environments.base import Episode
from lightning_agentrl.testing import ToyEnvironment
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import Task


class Shaky(ToyEnvironment):
    """Opening an episode fails with a probability."""

    def __init__(self, share: float) -> None:
        super().__init__(turns=3)
        self.share = share
        self.rng = random.Random(0)
        self.closed = 0

    async def open(self, task: Task, seed: int) -> Episode:
        if self.rng.random() < self.share:
            raise InfrastructureError("the server is away")
        return await super().open(task, seed)

    def close(self) -> None:
        self.closed += 1


class Groups(Callback):
    """Sizes of the groups of each collection, and what was dropped."""

    def __init__(self) -> None:
        self.sizes: list[list[int]] = []
        self.dropped: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rollouts = trainer.datamodule.last["train"].trajectories  # type: ignore[attr-defined]
        groups = [trajectory.group for trajectory in rollouts]
        self.sizes.append([groups.count(group) for group in sorted(set(groups))])
        self.dropped.append(float(trainer.callback_metrics.get("rollout/dropped_groups", 0.0)))


BRANCHINGS = [
    Independent(),
    EntropyBranching(initial_roots=2, base=1.0, weight=0.0),
    ProceduralBranching(branches=3, source="entropy", room=1),
]


@pytest.mark.parametrize("branching", BRANCHINGS, ids=lambda branching: type(branching).__name__)
def test_every_group_that_is_trained_on_is_whole(policy: str, tmp_path: Path, branching: Branching) -> None:
    seen = Groups()
    run = trainer(tmp_path, seen, max_epochs=4)
    run.fit(module(policy), datamodule=data(Shaky(0.25), branching=branching, prompts_per_epoch=6, minibatches=2))
    assert run.global_step == 8
    assert {size for sizes in seen.sizes for size in sizes} == {4}
    assert [len(sizes) + dropped for sizes, dropped in zip(seen.sizes, seen.dropped, strict=True)] == [6] * 4
    assert sum(seen.dropped) > 0


@pytest.mark.parametrize("branching", BRANCHINGS, ids=lambda branching: type(branching).__name__)
def test_an_environment_that_fails_for_good_stops_the_run_with_its_error_and_is_closed(
    policy: str, tmp_path: Path, branching: Branching
) -> None:
    world = Shaky(1.0)
    with pytest.raises(RuntimeError, match=r"every group \(4 in all\).*the server is away"):
        trainer(tmp_path).fit(module(policy), datamodule=data(world, branching=branching))
    assert world.closed
