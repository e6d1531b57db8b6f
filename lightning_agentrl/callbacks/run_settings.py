"""The resolved configuration beside the run, and its plain values as TensorBoard hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger


class RunSettings(SaveConfigCallback):
    """Saves ``config.yaml`` as Lightning does; when training starts, also fills TensorBoard's HParams tab."""

    before: Mapping[str, float] | None = None
    """Numbers of the validation that preceded training, where there was one."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the settings to every logger; Lightning calls this once, on rank 0."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self._settings())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the numbers before training, which Lightning takes for a sanity check and does not log."""
        if trainer.sanity_checking:
            self.before = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them at step 0, success as the metric of the HParams tab, which then follows its latest value."""
        if not trainer.is_global_zero or not self.before:
            return
        numbers = dict(self.before)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and "val/success" in numbers:
                logger.log_hyperparams(self._settings(), {"val/success": numbers["val/success"]})
                others = {name: value for name, value in numbers.items() if name != "val/success"}
                logger.log_metrics(others, step=0)
            else:
                logger.log_metrics(numbers, step=0)

    def _settings(self) -> dict[str, str | float | bool]:
        return flatten({"model": _plain(self.config.get("model")), "data": _plain(self.config.get("data"))})


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
