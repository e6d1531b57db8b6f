"""The resolved configuration beside the run, and its plain values as TensorBoard hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

TRAINER = ("max_epochs", "precision", "gradient_clip_val", "accumulate_grad_batches", "devices", "num_nodes")
"""Settings of the trainer that change what is learned."""
HEADLINES = {
    "data/branching": "algorithm/branching",
    "model/credit": "algorithm/credit",
    "data/group_size": "algorithm/group_size",
    "model/loss": "algorithm/loss",
    "model/optimizer/lr": "algorithm/lr",
}
"""The HParams tab shows the first five names of the alphabet, so those that matter most come under such a name."""
LAST, BEST = "val/success", "val/success_best"
"""Metrics of the HParams tab, which shows the latest value of each."""


class RunSettings(SaveConfigCallback):
    """Saves ``config.yaml`` as Lightning does, fills TensorBoard's HParams tab and logs the best success so far."""

    best: float | None = None
    """Highest success of a validation so far, the one before training included."""
    _filled = False

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the settings to every logger; Lightning calls this once, on rank 0."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self._settings())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best success; with the first one of a run also the settings, so that HParams has its metrics.

        Lightning takes the validation before training for a sanity check and does not log it; we do.
        """
        numbers = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero or LAST not in numbers:
            return
        self.best = max(numbers[LAST], numbers[LAST] if self.best is None else self.best)
        step = max(trainer.global_step - 1, 0)  # where Lightning puts the validation itself
        metrics = {LAST: numbers[LAST], BEST: self.best}
        for logger in trainer.loggers:
            if not self._filled and isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self._settings(), metrics, step)
            elif trainer.sanity_checking:
                logger.log_metrics(metrics, step)
            else:
                logger.log_metrics({BEST: self.best}, step)
            if trainer.sanity_checking:
                logger.log_metrics({name: value for name, value in numbers.items() if name != LAST}, step)
        self._filled = True

    def state_dict(self) -> dict[str, Any]:
        """The best success, for a run that goes on."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self.best = state_dict["best"]

    def _settings(self) -> dict[str, str | float | bool]:
        parts: dict[str, Any] = {part: _plain(self.config.get(part)) for part in ("model", "data", "trainer")}
        parts["trainer"] = {name: parts["trainer"].get(name) for name in TRAINER}
        flat = flatten({"seed": self.config.get("seed_everything"), **parts})
        first = {new: flat.pop(old) for old, new in HEADLINES.items() if old in flat}
        return first | flat


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """Nested settings as ``a/b/c: value``; a class path becomes its short name."""
    flat: dict[str, str | float | bool] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}".removesuffix("/class_path").replace("/init_args/", "/")
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif name == "class_path":
            flat[key] = str(value).rsplit(".", 1)[-1]
        elif isinstance(value, str | int | float | bool):
            flat[key] = value
    return flat


def _plain(value: Any) -> dict[str, Any]:
    return dict(value.as_dict()) if value is not None and hasattr(value, "as_dict") else {}
