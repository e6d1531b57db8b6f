"""The whole architecture with the Transformers engine: it collects, learns, resumes, and says what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import data, module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.testing import ToyEnvironment
from lightning_agentrl.types import RolloutBatch, Signal, Weights


class Record(Callback):
    """Keeps what each epoch collected and logged."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.tasks: list[list[str]] = []
        self.versions: list[int] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        last = trainer.datamodule.last["train"]  # type: ignore[attr-defined]
        self.tasks.append([trajectory.task.id for trajectory in last.trajectories])
        self.versions.append(last.policy_version)


def test_reward_rises(policy: str, tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, record, max_epochs=15).fit(
        module(policy, lr=1e-2), datamodule=data(ToyEnvironment(asks=["even"]), prompts_per_epoch=4, group_size=8)
    )
    first, last = record.metrics[0]["reward/mean"], record.metrics[-1]["reward/mean"]
    assert first < 0.6
    assert last > 0.9


def test_a_module_may_be_validated_before_it_is_trained(policy: str, tmp_path: Path) -> None:
    learner, rollouts, run = module(policy), data(), trainer(tmp_path, max_epochs=2)
    before = run.validate(learner, rollouts, verbose=False)[0]["val/success"]
    run.fit(learner, rollouts)
    assert 0 <= before <= 1
    assert "val/success" in run.callback_metrics


def test_one_epoch_is_one_collection_with_the_weights_of_its_start(policy: str, tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, record, max_epochs=3).fit(module(policy), datamodule=data(minibatches=2, ppo_epochs=2))
    assert record.versions == [0, 4, 8]


@pytest.mark.parametrize(("ppo_epochs", "minibatches", "accumulate"), [(1, 1, 1), (1, 1, 3), (2, 3, 2)])
def test_steps_are_a_function_of_the_configuration(
    policy: str, tmp_path: Path, ppo_epochs: int, minibatches: int, accumulate: int
) -> None:
    run = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=accumulate)
    run.fit(module(policy), datamodule=data(ppo_epochs=ppo_epochs, minibatches=minibatches))
    assert run.global_step == 2 * ppo_epochs * minibatches


def test_the_ratio_is_exactly_one_with_one_step_per_collection(policy: str, tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, record, accumulate_grad_batches=3).fit(module(policy), datamodule=data())
    assert [metrics["policy/ratio_deviation"] for metrics in record.metrics] == [0.0, 0.0]


def test_the_ratio_is_one_at_the_first_of_several_steps(policy: str, tmp_path: Path) -> None:
    seen: list[float] = []

    class Deviation(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0:
                scored = pl_module.score(batch, pl_module.requires | Signal.OLD_LOGPROBS)
                seen.append(float((scored.old_logprobs - batch.old_logprobs)[batch.loss_mask].exp().sub(1).abs().max()))

    trainer(tmp_path, Deviation()).fit(module(policy), datamodule=data(minibatches=3))
    assert max(seen) <= 1e-5


def test_engine_and_trainer_agree_after_every_sync(policy: str, tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, record, max_epochs=3).fit(module(policy, temperature=0.7), datamodule=data())
    for metrics in record.metrics:
        assert metrics["policy/parity_gap"] <= 1e-4
        assert metrics["policy/mismatch_max"] <= 1e-4


def test_every_group_of_scalars_is_logged(policy: str, tmp_path: Path) -> None:
    record = Record()
    run = trainer(tmp_path, record, max_epochs=1)
    run.fit(module(policy), datamodule=data())
    names = set(record.metrics[-1]) | set(run.callback_metrics)
    for group in ("reward", "rollout", "credit", "policy", "tool", "time", "val"):
        assert any(name.startswith(f"{group}/") for name in names), group


def test_a_resumed_run_continues_the_uninterrupted_one(policy: str, tmp_path: Path) -> None:
    whole, first, second = Record(), Record(), Record()
    full = trainer(tmp_path, whole, max_epochs=4)
    full.fit(module(policy), datamodule=data())

    saver = ModelCheckpoint(tmp_path / "saved", save_last=True)
    trainer(tmp_path, first, saver, max_epochs=2, enable_checkpointing=True).fit(module(policy), datamodule=data())
    resumed = trainer(tmp_path, second, max_epochs=4)
    model = module(policy)
    resumed.fit(model, datamodule=data(), ckpt_path=tmp_path / "saved" / "last.ckpt")

    assert first.tasks + second.tasks == whole.tasks
    assert first.versions + second.versions == whole.versions
    assert resumed.global_step == full.global_step
    for a, b in zip(first.metrics + second.metrics, whole.metrics, strict=True):
        assert a["reward/mean"] == pytest.approx(b["reward/mean"])


def test_a_collection_whose_branches_are_drawn_between_steps_is_resumed_whole(policy: str, tmp_path: Path) -> None:
    def run(epochs: int, *callbacks: Callback, **options: Any) -> Trainer:
        settings = {"branching": ProceduralBranching(branches=1, room=1), "minibatches": 4}
        runner = trainer(tmp_path, *callbacks, max_epochs=epochs, enable_checkpointing=bool(callbacks))
        runner.fit(module(policy), datamodule=data(**settings), **options)
        return runner

    run(1, ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1))
    assert run(2, ckpt_path=tmp_path / "step=4.ckpt").global_step == 8
    with pytest.raises(ValueError, match="saved between the optimizer steps"):
        run(2, ckpt_path=tmp_path / "step=2.ckpt")


def test_every_prompt_comes_once_per_pass(policy: str, tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, record, max_epochs=4).fit(
        module(policy), datamodule=data(ToyEnvironment(tasks=8), prompts_per_epoch=4, group_size=2)
    )
    for lap in (record.tasks[:2], record.tasks[2:]):
        assert sorted({task for epoch in lap for task in epoch}, key=int) == [str(number) for number in range(8)]
    assert record.tasks[:2] != record.tasks[2:]


def test_validation_runs_on_the_present_weights(policy: str, tmp_path: Path) -> None:
    class Versions(TransformersEngine):
        seen: list[int] = []  # noqa: RUF012

        def update_weights(self, weights: Weights, version: int) -> None:
            self.seen.append(version)
            super().update_weights(weights, version)

    engine = Versions()
    trainer(tmp_path, max_epochs=2).fit(module(policy), datamodule=data(engine=engine))
    assert engine.seen == [0, 1, 1, 2]  # train, validate, train, validate


@pytest.mark.parametrize(
    ("options", "between"),
    [
        ({}, "score"),
        ({"branching": ProceduralBranching(branches=1, room=1, source="entropy")}, "score wake sleep score"),
        (
            {"branching": ProceduralBranching(branches=1, room=1), "minibatches": 2},
            "score wake sleep score score wake sync sleep score",  # the third looks again before the sync
        ),
    ],
    ids=["roots", "a second wave", "a wave before each step"],
)
def test_the_engine_sleeps_while_the_trainer_works(
    policy: str, tmp_path: Path, options: dict[str, Any], between: str
) -> None:
    class Diary(TransformersEngine):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def update_weights(self, weights: Weights, version: int) -> None:
            self.lines.append("sync")
            super().update_weights(weights, version)

        def sleep(self) -> None:
            self.lines.append("sleep")

        def wake(self) -> None:
            self.lines.append("wake")

    engine, model = Diary(), module(policy)
    score = model.score

    def noting(batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        if temperature is None:  # the parity check asks at a temperature of its own
            engine.lines.append("score")
        return score(batch, signals, temperature)

    model.score = noting  # type: ignore[method-assign]
    trainer(tmp_path, max_epochs=1).fit(model, datamodule=data(engine=engine, **options))
    assert " ".join(engine.lines) == f"sync sleep {between} wake sync sleep"  # train, validate


def test_the_best_checkpoint_follows_validation_success(policy: str, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "best", monitor="val/success", mode="max")
    trainer(tmp_path, saver, enable_checkpointing=True).fit(module(policy), datamodule=data())
    assert Path(saver.best_model_path).is_file()
    described = torch.load(saver.best_model_path, weights_only=False)["agentrl"]
    assert described["credit"].startswith("GRPO(")


def test_an_engine_is_closed_after_a_crash_and_after_the_end(policy: str, tmp_path: Path) -> None:
    class Crash(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            raise RuntimeError("crash")

    crashed = data()
    with pytest.raises(RuntimeError, match="crash"):
        trainer(tmp_path, Crash()).fit(module(policy), datamodule=crashed)
    assert not crashed.collector.engine.started
    ended = data()
    trainer(tmp_path, max_epochs=1).fit(module(policy), datamodule=ended)
    assert not ended.collector.engine.started
