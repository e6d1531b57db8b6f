"""Collections that a run saves, and what can be done again with them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import data, module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_agentrl.callbacks import Bundles
from lightning_agentrl.credit.apply import apply_credit, uncredited
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.jobs import stable_seed
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.types import Signal


def test_chosen_collections_are_saved_and_replay_their_credit(policy: str, tmp_path: Path) -> None:
    trainer(tmp_path, Bundles(every_n_epochs=2), max_epochs=3).fit(module(policy), datamodule=data())
    folders = bundle.find(tmp_path)
    assert [folder.name for folder in folders] == ["epoch-0000", "epoch-0002"]
    saved = bundle.load(folders[1])
    assert saved.meta["policy_version"] == 2
    assert len(saved.records) == len(saved.batch) == 16
    again, _ = apply_credit(GRPO(), uncredited(saved.batch))
    assert torch.equal(again.advantages, saved.batch.advantages)  # type: ignore[arg-type]


@pytest.mark.parametrize("minibatches", [1, 2])
def test_a_saved_collection_replays_its_loss_bit_for_bit(policy: str, tmp_path: Path, minibatches: int) -> None:
    """The first step's loss: replayed with the policy that it was made with, under another trainer."""
    seen: list[Tensor] = []
    options = {"prompts_per_epoch": 2, "minibatches": minibatches}

    class Losses(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            seen.append(outputs["loss"])

    first = trainer(tmp_path, Losses(), Bundles(every_n_epochs=1), max_epochs=1)
    first.fit(module(policy), datamodule=data(**options))

    class Replay(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0:
                saved = bundle.load(bundle.find(tmp_path)[0]).batch
                steps = cut(saved, ppo_epochs=1, minibatches=minibatches, accumulate=1, rng=_rng())
                ((micro,), *_) = pl_module.weigh(steps, 18)
                with torch.no_grad():
                    seen.append(pl_module.training_step(micro, 0))

    trainer(tmp_path / "again", Replay(), max_epochs=1).fit(module(policy), datamodule=data(**options))
    assert torch.equal(seen[-1], seen[0])


def _rng() -> random.Random:
    """As a collection of epoch 0 is cut with."""
    return random.Random(stable_seed(0, 0, 0))


def test_looking_at_more_signals_does_not_change_what_is_learned(policy: str, tmp_path: Path) -> None:
    weights = []
    for number, callbacks in enumerate([[], [Bundles(1, ["old_logprobs", "entropies", "answer_logprobs"])]]):
        model = module(policy)
        trainer(tmp_path / str(number), *callbacks).fit(model, datamodule=data())
        weights.append(model.state_dict())
    saved = bundle.load(bundle.find(tmp_path)[1]).batch
    saved.require(Signal.OLD_LOGPROBS | Signal.ENTROPIES | Signal.ANSWER_LOGPROBS, "this test")
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
