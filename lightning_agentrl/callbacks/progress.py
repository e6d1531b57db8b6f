"""One line per epoch, and on a terminal a live line that says which phase a collection is in."""

from __future__ import annotations

import sys
import time
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.status import Status

from lightning_agentrl.rollout.collection import Collecting

TIMES = ("sync", "parity", "rollout", "score", "update")


class PhaseProgress(ProgressBar):
    """Replaces Lightning's progress bar, whose batches say little when most of an epoch is the rollout."""

    def __init__(self) -> None:
        """Write to standard output; live only if it is a terminal."""
        super().__init__()
        self.console = Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._epoch = ""
        self._epoch_start = 0.0
        self._phase_start = (0.0, "")

    @property
    def is_enabled(self) -> bool:
        """Whether this rank prints."""
        return not self.console.quiet

    @property
    def is_disabled(self) -> bool:
        """Whether this rank keeps quiet."""
        return self.console.quiet

    def enable(self) -> None:
        """Nothing is drawn before it is needed."""

    def disable(self) -> None:
        """Say nothing (Lightning calls this on every rank but the first)."""
        self.console.quiet = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the live line."""
        self.console.print(*args)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the data module's clock."""
        super().setup(trainer, pl_module, stage)
        clock = _collecting(trainer).clock
        if self._hear not in clock.listeners:
            clock.listeners.append(self._hear)
        if self.console.is_terminal and not self.console.quiet and self._status is None:
            self._status = self.console.status("starting")
            self._status.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop the live line and stop listening."""
        self._stop()
        listeners = _collecting(trainer).clock.listeners
        if self._hear in listeners:
            listeners.remove(self._hear)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which epoch it is."""
        last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        self._epoch = f"epoch {trainer.current_epoch + 1}/{last}"
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line of numbers."""
        metrics = trainer.callback_metrics
        shown = {"reward": "reward/mean", "success": "reward/success", "turns": "rollout/turns", "calls": "tool/calls"}
        numbers = "  ".join(f"{label} {float(metrics[name]):.2f}" for label, name in shown.items() if name in metrics)
        times = "  ".join(f"{name} {float(metrics[f'time/{name}']):.1f}" for name in TIMES if f"time/{name}" in metrics)
        spent = time.perf_counter() - self._epoch_start
        self.print(f"{self._epoch}  {numbers}  {spent:.1f} s ({times})")
        self._epoch = ""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Success, overall and split."""
        metrics = trainer.callback_metrics
        if "val/success" not in metrics:
            return
        split = sorted((name, value) for name, value in metrics.items() if name.startswith("val/success_"))
        detail = "  ".join(f"{name.removeprefix('val/success_')} {float(value):.2f}" for name, value in split)
        self.print(f"validation  success {float(metrics['val/success']):.3f}  {detail}")

    def _hear(self, phase: str, detail: str) -> None:
        if self._status is None:
            return
        now = time.perf_counter()
        if self._phase_start[1] != phase:
            self._phase_start = (now, phase)
        spent = now - self._phase_start[0]
        self._status.update(f"{self._epoch or 'validation'}  {phase}  {detail}  {spent:.1f} s")

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        sys.stdout.flush()


def _collecting(trainer: Trainer) -> Collecting:
    return cast(Collecting, trainer.datamodule)  # type: ignore[attr-defined]
