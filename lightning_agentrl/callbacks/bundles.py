"""Saves collections with all that is needed to look into their credit later, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.collection import Collecting
from lightning_agentrl.types import Learner, Signal

Savable = Literal["old_logprobs", "ref_logprobs", "entropies", "answer_logprobs"]


class Bundles(Callback):
    """Writes every n-th training collection to ``rollouts/epoch-….`` in the run's folder.

    Args:
        every_n_epochs: 0 saves nothing.
        save_signals: what the saved collections are to hold beyond what they are trained with, so that
            ``agentrl recredit`` can ask other assigners; computed on saved epochs only.
    """

    def __init__(self, every_n_epochs: int = 0, save_signals: Sequence[Savable] = ()) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"bundles.every_n_epochs must be at least 0, got {every_n_epochs}.")
        self.every_n_epochs = every_n_epochs
        self.save_signals = Signal.NONE
        for name in save_signals:
            self.save_signals |= Signal[name.upper()]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask for the signals before the collection is made."""
        if self._due(trainer):
            _collecting(trainer).wanted |= self.save_signals

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save on the first rank."""
        run = Path(trainer.log_dir or trainer.default_root_dir)  # ranks agree on it, so all of them ask
        if not self._due(trainer) or not trainer.is_global_zero:
            return
        data, learner = _collecting(trainer), cast(Learner, pl_module)
        folder = run / "rollouts" / f"epoch-{trainer.current_epoch:04d}"
        info = {"seed": data.seed, "temperature": learner.temperature, "config": _config(run)}
        bundle.save(folder, data.last["train"], learner.tokenizer, info)

    def _due(self, trainer: Trainer) -> bool:
        return self.every_n_epochs > 0 and trainer.current_epoch % self.every_n_epochs == 0


def _config(run: Path) -> Any:
    """The resolved configuration, which lies in the run's folder where the command line made the run."""
    path = run / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _collecting(trainer: Trainer) -> Collecting:
    return cast(Collecting, trainer.datamodule)  # type: ignore[attr-defined]
