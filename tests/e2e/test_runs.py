"""The whole architecture with the Transformers engine: it collects, learns, resumes, and says what it did."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import data, module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.callbacks import Bundles
from lightning_agentrl.credit.apply import apply_credit, uncredited
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.engines.base import Completion, SamplingParams
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.jobs import stable_seed
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.rollout.parity import ParityError
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
                scored = pl_module.score(batch, pl_module.requires | _old())
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


def test_a_wrong_engine_is_noticed_after_the_sync(policy: str, tmp_path: Path) -> None:
    class Stale(TransformersEngine):
        """Takes only the first weights."""

        def update_weights(self, weights: Weights, version: int) -> None:
            if version == 0:
                super().update_weights(weights, version)

    with pytest.raises(ParityError, match="Every prompt disagrees"):
        trainer(tmp_path).fit(module(policy, lr=1e-2), datamodule=data(engine=Stale()))


def test_raw_logprobs_at_another_temperature_are_named(policy: str, tmp_path: Path) -> None:
    class Raw(TransformersEngine):
        """Reports log-probs as if the temperature were 1."""

        async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
            wrong = SamplingParams(params.max_tokens, 1.0, params.stop_token_ids, params.seed)
            return await super().generate(token_ids, wrong)

        def start(self, setup: Any) -> None:
            super().start(type(setup)(**{**setup.__dict__, "temperature": 1.0}))

    with pytest.raises(ParityError, match="raw instead of processed"):
        trainer(tmp_path).fit(module(policy, temperature=0.5), datamodule=data(engine=Raw()))


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"top_p": 0.9}, "full distribution"),
        ({"top_k": 20}, "full distribution"),
        ({"min_p": 0.1}, "full distribution"),
        ({"max_turn_tokens": 128}, "must be smaller than max_model_len"),
        ({"minibatches": 0}, "minibatches must be at least 1"),
    ],
)
def test_contradictory_settings_stop_before_anything_loads(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "greater than 0"), ({"aggregation_constant": 9.0}, "read with aggregation=constant")],
)
def test_contradictory_model_settings_stop_before_anything_loads(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("nowhere", **options)


def test_a_prompt_that_leaves_no_room_is_named_before_the_policy_loads(policy: str, tmp_path: Path) -> None:
    model = module(policy)
    with pytest.raises(ValueError, match=r"task '\d+' has \d+ tokens, which leaves no room in a context of 12"):
        trainer(tmp_path).fit(model, datamodule=data(max_model_len=12, max_turn_tokens=4))
    assert model.policy is None


def test_training_on_a_part_of_a_collection_is_refused(policy: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained whole, in 4 micro-batches"):
        trainer(tmp_path, limit_train_batches=2).fit(module(policy), datamodule=data(minibatches=4))


def test_a_validation_temperature_the_engine_cannot_score_is_refused(policy: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="validation_temperature"):
        trainer(tmp_path).validate(module(policy), datamodule=data(validation_temperature=0.3))


def _old() -> Any:
    from lightning_agentrl.types import Signal

    return Signal.OLD_LOGPROBS
