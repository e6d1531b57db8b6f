"""Figures of training collections in TensorBoard, within a budget of time."""

from __future__ import annotations

import importlib.util
import logging
import time
import warnings
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl.callbacks.drawings import drawings
from lightning_agentrl.rollout.collection import Collecting
from lightning_agentrl.types import Learner

log = logging.getLogger(__name__)
GUESS = 1.0
"""Seconds of a drawing, before one was timed."""


class CreditFigures(Callback):
    """Draws training collections, on the first rank and within a budget of time.

    Args:
        every_n_epochs: how often to draw; 0 never does.
        prompts: how many prompts the heat map shows.
        budget: most share of the time since training began that drawing may have taken; a drawing that would break it,
            or leave no room for that of the last epoch, waits for a later epoch. The last epoch is always drawn, so a
            run that is shorter than a drawing divided by the budget, less than a minute, exceeds it. 1 never waits.
    """

    def __init__(self, every_n_epochs: int = 5, prompts: int = 4, budget: float = 0.02) -> None:
        if every_n_epochs < 0 or prompts < 1 or not 0 < budget <= 1:
            raise ValueError(
                f"credit_figures needs every_n_epochs ≥ 0, prompts ≥ 1 and 0 < budget ≤ 1, got {every_n_epochs}, "
                f"{prompts} and {budget}."
            )
        self.every_n_epochs = every_n_epochs
        self.prompts = prompts
        self.budget = budget
        self.spent = 0.0
        """Seconds so far."""
        self._dearest = GUESS
        self._began = 0.0
        self._due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting; without matplotlib say so once and draw nothing."""
        self._began = time.perf_counter()
        if self.every_n_epochs and trainer.is_global_zero and importlib.util.find_spec("matplotlib") is None:
            log.info("Without matplotlib there are no figures of credit: pip install lightning-agentrl[viz].")
            self.every_n_epochs = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw if it is time and the budget allows it."""
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not self.every_n_epochs or not boards or not trainer.is_global_zero:
            return
        self._due = self._due or trainer.current_epoch % self.every_n_epochs == 0
        last = trainer.current_epoch + 1 == trainer.max_epochs
        elapsed = time.perf_counter() - self._began
        if not last and not (self._due and self.affordable(elapsed)):
            return
        started = time.perf_counter()
        collection = cast(Collecting, trainer.datamodule).last["train"]  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn, which says so well enough
            for name, figure in drawings(collection, cast(Learner, pl_module).tokenizer, self.prompts):
                for board in boards:
                    board.experiment.add_figure(name, figure, trainer.global_step, close=False)
        took = time.perf_counter() - started
        self._dearest = max(took, self._dearest if self.spent else 0.0)
        self.spent, self._due = self.spent + took, False
        share = self.spent / max(time.perf_counter() - self._began, 1e-9)
        for board in boards:
            board.log_metrics({"time/figures": took, "time/figures_share": share}, trainer.global_step)

    def affordable(self, elapsed: float) -> bool:
        """Whether one more drawing, and the last one after it, fit the budget of a run that has gone on for so long."""
        return self.budget == 1 or self.spent + 2 * self._dearest <= self.budget * elapsed
