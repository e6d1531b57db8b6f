"""Our side of `compare.py`: updates on recorded rollouts, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from itertools import groupby
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from recorded import LEARNING_RATE, Rollout, read
from resources import peak, rest
from settings import AGENTRL

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.rollout.dynamic_sampling import Sampled
from lightning_agentrl.testing import ToyEnvironment
from lightning_agentrl.types import Reward, Segment, Task, Trajectory, Turn


class Recorded(AgentRLDataModule):
    """Everything that a data module does but sampling and syncing an engine."""

    def __init__(self, trajectories: list[Trajectory], prompts: int) -> None:
        super().__init__(
            environment=ToyEnvironment(),
            engine=TransformersEngine(),
            format=HermesFormat(),
            prompts_per_epoch=prompts,
            group_size=len(trajectories) // prompts,
            max_model_len=4096,
        )
        self.trajectories = trajectories

    def _sync(self) -> None:
        pass

    def _sample(self, epoch: int) -> Sampled:
        with self.clock.phase("rollout"):
            pass
        return Sampled(self.trajectories, sampled=tuple(self.trajectories))


class Clock(Callback):
    """Seconds of each step, from the end of the one before, with its loss and its gradient's norm."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.before = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.before = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the step took and came to."""
        numbers = {name: float(trainer.callback_metrics[f"policy/{name}"]) for name in ("loss", "grad_norm")}
        self.steps.append({"seconds": time.perf_counter() - self.before, **numbers})


def trajectory(number: int, sample: int, rollout: Rollout) -> Trajectory:
    """As our sampler would have made it."""
    segments = [
        Segment(tuple(token for token, _ in run), sampled=bool(mine), logprobs=(0.0,) * len(run) if mine else None)
        for mine, tokens in groupby(zip(rollout.completion, rollout.sampled, strict=True), key=lambda pair: pair[1])
        for run in [list(tokens)]
    ]
    turns = tuple(
        Turn(action, observation)
        for action, observation in zip(segments[::2], [*segments[1::2], None][: len(segments[::2])], strict=True)
    )
    reward = Reward(rollout.reward, rollout.reward)
    prompt = Segment(tuple(rollout.prompt), sampled=False)
    return Trajectory(number, rollout.group, sample, Task(str(rollout.group), ()), prompt, turns, reward)


def main(policy: str, rollouts: Path, steps: int, out: Path) -> None:
    """Train, and write seconds, losses, norms and memory."""
    recorded = read(rollouts)
    groups = [list(members) for _, members in groupby(recorded, key=lambda rollout: rollout.group)]
    pairs = [(sample, rollout) for group in groups for sample, rollout in enumerate(group)]
    trajectories = [trajectory(number, sample, rollout) for number, (sample, rollout) in enumerate(pairs)]
    learner = AgentRLModule(
        policy=policy,
        credit=GRPO(eps=1e-4),
        loss=ClippedLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=LEARNING_RATE, weight_decay=0.0, fused=True),
    )
    clock = Clock()
    trainer = Trainer(max_epochs=steps, callbacks=[clock], **AGENTRL)
    before = rest()
    trainer.fit(learner, datamodule=Recorded(trajectories, len(groups)))
    out.write_text(json.dumps({"steps": clock.steps, "rest_mib": before, "peak_mib": peak()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
