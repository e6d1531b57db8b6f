"""A few rollouts as Markdown: in TensorBoard's text tab and as files beside the events."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl.environments.base import Split
from lightning_agentrl.rollout.collection import Collecting, Collection
from lightning_agentrl.types import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Transcripts(Callback):
    """Writes the best, the worst and a middling rollout of a collection.

    Args:
        every_n_epochs: of training; every validation is written. 0 writes nothing.
        rollouts: how many per collection.
    """

    def __init__(self, every_n_epochs: int = 5, rollouts: int = 3) -> None:
        if every_n_epochs < 0 or rollouts < 1:
            raise ValueError(
                f"transcripts needs every_n_epochs ≥ 0 and rollouts ≥ 1, got {every_n_epochs}, {rollouts}."
            )
        self.every_n_epochs = every_n_epochs
        self.rollouts = rollouts

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the training rollouts of every n-th epoch."""
        if self.every_n_epochs and trainer.current_epoch % self.every_n_epochs == 0:
            self._write(trainer, pl_module, "train")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the validation rollouts."""
        if self.every_n_epochs:
            self._write(trainer, pl_module, "validation")

    def _write(self, trainer: Trainer, pl_module: LightningModule, split: Split) -> None:
        last = cast(Collecting, trainer.datamodule).last.get(split)  # type: ignore[attr-defined]
        log_dir = trainer.log_dir  # ranks agree on it, so all of them ask
        if last is None or not trainer.is_global_zero:
            return
        tokenizer = cast("PreTrainedTokenizerBase", pl_module.tokenizer)
        text = "\n\n---\n\n".join(markdown(trajectory, tokenizer) for trajectory in self._choose(last))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text(f"transcripts/{split}", text, trainer.global_step)
        if log_dir:
            folder = Path(log_dir) / "transcripts"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{split}-step-{trainer.global_step:06d}.md").write_text(text, encoding="utf-8")

    def _choose(self, collection: Collection) -> list[Trajectory]:
        ranked = sorted(collection.trajectories, key=lambda trajectory: -trajectory.outcome)
        count = min(self.rollouts, len(ranked))
        return [ranked[round(place * (len(ranked) - 1) / max(count - 1, 1))] for place in range(count)]


def markdown(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase) -> str:
    """One rollout, turn by turn; what model and tools said is escaped."""
    question = " / ".join(message["content"] for message in trajectory.task.messages)
    lines = [
        f"**{_code(question)}**",
        f"expected: {_code(' or '.join(trajectory.task.answers))} · outcome **{trajectory.outcome:.2f}** · "
        f"{trajectory.stop} after {len(trajectory.turns)} turns",
        "| # | policy | environment |\n|---|---|---|",
    ]
    rows = []
    for number, turn in enumerate(trajectory.turns):
        said = turn.action.text(tokenizer)
        seen = turn.observation.text(tokenizer) if turn.observation else ""
        rows.append(f"| {number + 1} | {_code(said)} | {_code(seen)} |")
    return "\n\n".join(lines) + "\n" + "\n".join(rows)


def _code(text: str) -> str:
    """Text as it is, inside a table cell."""
    flat = " ".join(text.split())
    return html.escape(flat, quote=False).replace("|", "&#124;").replace("`", "&#96;") or " "
