"""Numbers read back from a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl.inspector.scalars import read_scalars


def test_what_was_logged_is_read_back_in_full(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in range(1500):  # more than TensorBoard keeps by default
        logger.log_metrics({"reward/mean": step / 2}, step)
    logger.log_metrics({"val/success": 1.0}, 7)
    logger.finalize("success")
    found = read_scalars(Path(logger.log_dir))
    assert found["reward/mean"] == [(step, step / 2) for step in range(1500)]
    assert found["val/success"] == [(7, 1.0)]


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no TensorBoard event file"):
        read_scalars(tmp_path)
