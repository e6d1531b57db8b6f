"""What a run leaves in TensorBoard, read back from its event files."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import data, module, trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.callbacks import CreditFigures, Dashboard
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
    # The first drawing costs an unknown time and is tried; no other is affordable, and the last epoch is always drawn.
    assert len(events.Images("credit/turns")) == 2


@pytest.mark.parametrize("wrong", [{"every_n_epochs": -1}, {"prompts": 0}, {"budget": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="credit_figures needs"):
        CreditFigures(**wrong)  # type: ignore[arg-type]
