"""A few rollouts as Markdown: in TensorBoard's text tab and as files beside the events."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl.callbacks.examples import telling, turn_credit
from lightning_agentrl.environments.base import Split
from lightning_agentrl.rollout.collection import Collecting, Collection
from lightning_agentrl.types import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LEGEND = "🟦 reinforced · ⬜ left alone · 🟥 discouraged · ▫️ not trained; the number is the mean advantage of the turn"
"""Blue and red, as in the figures, can be told apart with any common colour blindness; the sign says it too."""

RULE = "\n\n---\n\n"
"""Between rollouts."""


class Transcripts(Callback):
    """Writes the best, the worst and a middling rollout, of the most mixed prompt if there is one.

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
        text = transcript(last, tokenizer, self.rollouts)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text(f"transcripts/{split}", text, trainer.global_step)
        if log_dir:
            folder = Path(log_dir) / "transcripts"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{split}-step-{trainer.global_step:06d}.md").write_text(text, encoding="utf-8")


def transcript(collection: Collection, tokenizer: PreTrainedTokenizerBase, count: int) -> str:
    """A few rollouts of a collection, with the credit of their turns if there is any."""
    trajectories = collection.trajectories
    rows = telling([t.group for t in trajectories], [t.outcome for t in trajectories], count)
    if collection.batch.advantages is None:
        return RULE.join(markdown(trajectories[row], tokenizer) for row in rows)
    credit = turn_credit(collection)
    return RULE.join([LEGEND, *(markdown(trajectories[row], tokenizer, credit[row].tolist()) for row in rows)])


def markdown(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, credit: Sequence[float] | None = None) -> str:
    """One rollout, turn by turn; what model and tools said is escaped.

    Args:
        trajectory: a finished rollout.
        tokenizer: decodes it.
        credit: of each turn, NaN where it is not trained; longer than the rollout where others have more turns.
    """
    question = " / ".join(message["content"] for message in trajectory.task.messages)
    squares = "".join(map(_square, (credit or [])[: len(trajectory.turns)]))
    lines = [
        f"**{_code(question)}**",
        f"expected: {_code(' or '.join(trajectory.task.answers))} · outcome **{trajectory.outcome:.2f}** · "
        f"{trajectory.stop} after {len(trajectory.turns)} turns" + (f" · {squares}" if squares else ""),
        "| # | policy | environment |\n|---|---|---|",
    ]
    rows = []
    for number, turn in enumerate(trajectory.turns):
        said = turn.action.text(tokenizer)
        seen = turn.observation.text(tokenizer) if turn.observation else ""
        given = "" if credit is None else f"{_square(credit[number])} {_signed(credit[number])}"
        rows.append(f"| {number + 1} | {given}{_code(said)} | {_code(seen)} |")
    return "\n\n".join(lines) + "\n" + "\n".join(rows)


def _square(credit: float) -> str:
    return "▫️" if math.isnan(credit) else "🟦" if credit > 0 else "🟥" if credit < 0 else "⬜"


def _signed(credit: float) -> str:
    return "" if math.isnan(credit) else f"**{credit:+.2f}** " if credit else "**0** "


def _code(text: str) -> str:
    """Text as it is, inside a table cell."""
    flat = " ".join(text.split())
    return html.escape(flat, quote=False).replace("|", "&#124;").replace("`", "&#96;") or " "
