"""What the run changed: the first validation beside the last, printed when fitting ends."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_agentrl.rollout.collection import Collecting

ROWS = {
    "val/success": "success",
    "val/reward": "reward",
    "val/turns": "turns",
    "val/tool_turns": "turns with a tool call",
    "val/tokens": "tokens said",
    "val/truncated": "truncated",
}


class BeforeAfter(Callback):
    """Prints a table of the validation that precedes training beside the last.

    The first validation is the sanity check, so it is the full one only with ``trainer.num_sanity_val_steps: -1``.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.rollouts = 0
        self.update = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the time of the updates, which the data module's clock does not see."""
        self.update += float(trainer.callback_metrics.get("time/update", 0.0))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the numbers of the first and of the latest validation."""
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        last = cast(Collecting, trainer.datamodule).last.get("validation")  # type: ignore[attr-defined]
        if not numbers or last is None:
            return
        self.rollouts = len(last.trajectories) * trainer.world_size
        self.before = self.before or numbers
        self.after = numbers

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table, and where to look further."""
        log_dir = trainer.log_dir  # ranks agree on it, so all of them ask
        if not trainer.is_global_zero or not self.before or self.before is self.after:
            return
        console = Console(highlight=False, soft_wrap=True)
        console.print(self._table())
        total = {**cast(Collecting, trainer.datamodule).clock.total, "update": self.update}  # type: ignore[attr-defined]
        spent = ", ".join(f"{name.replace('_', ' ')} {seconds:.1f} s" for name, seconds in total.items())
        console.print(f"time by phase: {spent}")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                console.print(f"curves:        tensorboard --logdir {logger.save_dir}")
        if log_dir:
            console.print(f"transcripts:   {Path(log_dir) / 'transcripts'}")

    def _table(self) -> Table:
        table = Table(title=f"Greedy validation, {self.rollouts} rollouts")
        for heading in ("", "before", "after"):
            table.add_column(heading, justify="left" if not heading else "right")
        split = {
            n: n.removeprefix("val/success_").replace("_", " ") for n in self.after if n.startswith("val/success_")
        }
        for name, label in {**ROWS, **dict(sorted(split.items()))}.items():
            if name in self.before and name in self.after:
                table.add_row(label, self._cell(name, self.before), self._cell(name, self.after))
        return table

    def _cell(self, name: str, numbers: dict[str, float]) -> str:
        value = numbers[name]
        if name != "val/success":
            return f"{value:.2f}"
        low, high = wilson(value, self.rollouts)
        return f"{value:.3f} [{low:.2f}, {high:.2f}]"


def wilson(share: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval for a share of successes: 95 % for z = 1.96; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    center = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, center - half), min(1.0, center + half)
