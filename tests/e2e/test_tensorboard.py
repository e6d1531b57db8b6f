"""What a run leaves in TensorBoard, read back from its event files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import data, module, trainer
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.callbacks import CreditFigures, Dashboard, RunSettings
from lightning_agentrl.callbacks.dashboard import PAGES

LONG_RUN_ONLY = {f"credit/turn_{turn}_mean" for turn in range(2, 7)}
"""Numbers that a policy which never ends its turn does not have."""
WITH_TOOLS = {"tool/error_share"}
"""Numbers that an environment without tools does not have."""


@pytest.fixture(scope="module")
def events(policy: str, tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    folder = tmp_path_factory.mktemp("run")
    logger = TensorBoardLogger(folder, name="", version="")
    watching = [CreditFigures(every_n_epochs=1, budget=1.0), Dashboard()]
    run = trainer(folder, *watching, max_epochs=2, logger=logger, log_every_n_steps=1)
    branching = ProceduralBranching(branches=3, source="entropy", room=1)
    run.fit(module(policy), datamodule=data(branching=branching))
    accumulator = EventAccumulator(str(folder), {"images": 0, "scalars": 0, "tensors": 0})
    return accumulator.Reload()


def test_every_scalar_of_the_dashboard_is_logged(events: EventAccumulator) -> None:
    logged = set(events.Tags()["scalars"])
    wanted = {name for charts in PAGES.values() for names in charts.values() for name in names}
    assert wanted - logged <= LONG_RUN_ONLY | WITH_TOOLS


def test_the_layout_of_custom_scalars_is_there(events: EventAccumulator) -> None:
    assert "custom_scalars__config__" in events.Tags()["tensors"]


@pytest.mark.parametrize("name", ["credit/turns", "credit/tokens", "reward/groups", "branch/tree"])
def test_figures_are_there(events: EventAccumulator, name: str) -> None:
    pytest.importorskip("matplotlib")
    images = events.Images(name)
    assert len(images) == 2  # one per epoch
    assert images[0].encoded_image_string.startswith(b"\x89PNG")


def test_what_drawing_costs_is_logged(events: EventAccumulator) -> None:
    pytest.importorskip("matplotlib")
    assert all(point.value > 0 for point in events.Scalars("time/figures"))


def test_drawing_keeps_to_its_budget(policy: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = CreditFigures(every_n_epochs=1, budget=1e-6)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer(tmp_path, figures, max_epochs=4, logger=logger, log_every_n_steps=1).fit(module(policy), datamodule=data())
    events = EventAccumulator(str(tmp_path), {"images": 0}).Reload()
    assert len(events.Images("credit/turns")) == 1  # none is affordable; the last epoch is always drawn


def test_a_drawing_leaves_room_for_the_last_one() -> None:
    figures = CreditFigures(budget=0.02)
    assert not figures.affordable(99.0)  # two of a guessed second each: 2 % of 100 s
    assert figures.affordable(100.0)
    figures.spent = 1.0
    assert not figures.affordable(149.0)
    assert figures.affordable(150.0)


@pytest.fixture(scope="module")
def settled(policy: str, tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    """A run that learns and then forgets: a success of 0.5, 0.75 and 0.25 is put in the place of the real ones."""
    folder = tmp_path_factory.mktemp("settled")
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    config = Namespace(seed_everything=3, model=Namespace(credit=Namespace(class_path="a.GRPO"), dtype="float32"))
    settings = RunSettings(LightningArgumentParser(), config, save_to_log_dir=False)
    with pytest.MonkeyPatch.context() as patch:
        found = {0: 0.5, 1: 0.75, 2: 0.25}
        patch.setattr(
            Trainer, "callback_metrics", property(lambda t: {"val/success": torch.tensor(found[t.global_step])})
        )
        run = trainer(folder, settings, logger=logger, log_every_n_steps=1, num_sanity_val_steps=-1)
        run.fit(module(policy), datamodule=data())
    return EventAccumulator(str(folder), {"scalars": 0}).Reload()


def test_the_best_success_so_far_is_logged_from_before_training_on(settled: EventAccumulator) -> None:
    assert [(point.step, point.value) for point in settled.Scalars("val/success_best")] == [
        (0, 0.5),
        (0, 0.75),
        (1, 0.75),
    ]


def test_hparams_hold_the_settings_and_the_last_and_best_success(settled: EventAccumulator) -> None:
    content = settled.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = HParamsPluginData.FromString(content).experiment
    assert {info.name.tag for info in experiment.metric_infos} == {"val/success", "val/success_best"}
    session = settled.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(session).session_start_info.hparams
    assert settings["seed"].number_value == 3
    assert settings["algorithm/credit"].string_value == "GRPO"
    assert sorted(settings) == ["algorithm/credit", "model/dtype", "seed"]


@pytest.mark.parametrize("wrong", [{"every_n_epochs": -1}, {"prompts": 0}, {"budget": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="credit_figures needs"):
        CreditFigures(**wrong)  # type: ignore[arg-type]
