"""Every shipped algorithm goes through the whole architecture: rollouts, signals, credit, loss, KL, optimizer, logs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import data, module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.config_files import config_names
from lightning_agentrl.environments.make_data import make_data
from lightning_agentrl.rollout.dynamic_sampling import DynamicSampling

SMALL = [
    *("--data.environment.init_args.world", "null", "--data.environment.init_args.data_dir", "world"),
    *("--data.engine", "TransformersEngine"),
    *("--data.prompts_per_epoch", "4", "--data.group_size", "3"),
    *("--data.max_turns", "2", "--data.max_turn_tokens", "6", "--data.max_model_len", "160"),
    *("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.num_sanity_val_steps", "0", "--trainer.limit_val_batches", "0"),
    *("--checkpoint.monitor", "null", "--transcripts.every_n_epochs", "0"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, with a world that has no demonstrations: nothing is warm-started here."""
    folder = tmp_path_factory.mktemp("runs")
    make_data("synthetic", folder / "world", questions=64, validation=16, demonstrations=0)
    return folder


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["agentrl"])


def fit(policy: str, *options: str) -> EventAccumulator:
    """Train as a user would, and read the events."""
    cli = AgentRLCLI(["fit", "-c", "base", *SMALL, *options, "--model.policy", policy])
    events = EventAccumulator(str(cli.trainer.log_dir))
    events.Reload()
    return events


@pytest.mark.parametrize("name", [name for name in config_names() if name.startswith("algorithm/")])
def test_a_recipe_runs(policy: str, name: str) -> None:
    # Branches are drawn between steps of whole prompts there, a group is N·(B + 1), and turns are short here.
    wider = ("--data.prompts_per_epoch", "8", "--data.group_size", "4", "--data.branching.room", "1")
    wider = wider if "appo" in name else ()
    events = fit(policy, "-c", name, *wider)
    names = set(events.Tags()["scalars"])
    assert {"reward/mean", "policy/loss", "policy/grad_norm", "credit/zero_credit_share"} <= names
    assert len(events.Scalars("credit/length_correlation")) == 2


def test_assigners_are_composed_on_the_command_line(policy: str) -> None:
    options = ("--model.credit", "AEM", "--model.credit.base", "A2TGPO", "--model.credit.base.beta", "0")
    names = set(fit(policy, *options).Tags()["scalars"])
    assert {"credit/alpha_max", "credit/missing_gains"} <= names


def test_an_assigner_from_another_package_is_named_by_its_class_path(
    policy: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the tutorial shows it: one file, one class, nothing registered."""
    page = (Path(__file__).parents[2] / "tutorials" / "30_add_a_credit_assigner.md").read_text(encoding="utf-8")
    source = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    package = folder / "elsewhere" / "my_package"
    package.mkdir(parents=True)
    (package / "last_turn.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    recipe = folder / "last_turn.yaml"
    recipe.write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    fit(policy, "--model.credit", "AEM", "--model.credit.base", "my_package.last_turn.LastTurn")
    events = fit(policy, "-c", str(recipe))
    assert len(events.Scalars("credit/advantage_std")) == 2
    saved = yaml.safe_load((Path(events.path) / "config.yaml").read_text())
    assert saved["model"]["credit"] == {
        "class_path": "my_package.last_turn.LastTurn",
        "init_args": {"scale": 0.5},
    }


def test_engine_and_trainer_mismatch_is_corrected_and_its_raw_ratio_logged(policy: str) -> None:
    events = fit(policy, "--model.correction.level", "turn", "--model.correction.mode", "mask")
    assert events.Scalars("policy/correction_ratio_raw_mean")[0].value == pytest.approx(1.0, abs=1e-4)
    assert events.Scalars("policy/correction_cut_share")[0].value == 0.0


def test_a_kl_holds_the_policy_near_its_start(policy: str, tmp_path: Path) -> None:
    def kls(coefficient: float) -> list[float]:
        seen: list[float] = []

        class Keep(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                seen.append(float(trainer.callback_metrics["policy/kl"]))

        model = module(policy, lr=2e-3, kl_coefficient=coefficient, kl_estimator="k3+")
        trainer(tmp_path, Keep(), max_epochs=12).fit(model, datamodule=data())
        return seen

    loose, tight = kls(1e-4), kls(10.0)
    assert loose[0] == tight[0] == pytest.approx(0.0, abs=1e-6)
    assert 0 < tight[-1] < loose[-1] / 2


def test_dynamic_sampling_trains_whole_collections_and_resumes(policy: str, tmp_path: Path) -> None:
    """Random policies leave most groups of a yes-or-no outcome flat: the quota is refilled, then filled up."""
    seen: list[tuple[list[str], int, dict[str, float]]] = []

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            last = trainer.datamodule.last["train"]  # type: ignore[attr-defined]
            numbers = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("dynamic/")}
            seen.append(([t.task.id for t in last.trajectories], len(last.batch), numbers))

    settings = {"dynamic_sampling": DynamicSampling(epsilon=0.3), "group_size": 2}
    saver = ModelCheckpoint(tmp_path / "saved", save_last=True)
    first = trainer(tmp_path, Keep(), saver, max_epochs=1, enable_checkpointing=True)
    first.fit(module(policy), datamodule=data(**settings))
    trainer(tmp_path, Keep(), max_epochs=2).fit(
        module(policy), datamodule=data(**settings), ckpt_path=tmp_path / "saved" / "last.ckpt"
    )
    resumed, seen = [*seen], []
    trainer(tmp_path, Keep(), max_epochs=2).fit(module(policy), datamodule=data(**settings))
    assert [rows for _, rows, _ in seen] == [8, 8]
    assert seen[0][2]["dynamic/sampled_groups"] > 4
    assert 0 < seen[0][2]["dynamic/dropped_share"] < 1
    assert [tasks for tasks, _, _ in resumed] == [tasks for tasks, _, _ in seen]


def test_the_reference_is_not_in_the_checkpoint(policy: str) -> None:
    cli = AgentRLCLI(["fit", "-c", "base", "-c", "algorithm/grpo", *SMALL, "--model.policy", policy])
    saved = torch.load(Path(str(cli.trainer.log_dir)) / "checkpoints" / "last.ckpt", weights_only=False)
    assert set(saved["state_dict"]) == {f"policy.{name}" for name in cli.model.policy.state_dict()}
