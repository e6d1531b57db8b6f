"""The resolved configuration beside the run, and its plain values as TensorBoard hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger


class RunSettings(SaveConfigCallback):
    """Saves ``config.yaml`` as Lightning does; when training starts, also fills TensorBoard's HParams tab."""

    success: float | None = None
    """Of the first validation, where there was one before training."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the success before training: HParams needs a first value."""
        if trainer.sanity_checking and "val/success" in trainer.callback_metrics:
            self.success = float(trainer.callback_metrics["val/success"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log settings once; HParams shows the latest value of each metric named here."""
        if not trainer.is_global_zero:
            return
        settings = flatten({"model": _plain(self.config.get("model")), "data": _plain(self.config.get("data"))})
        metrics = {} if self.success is None else {"val/success": self.success}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(settings, metrics)


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
