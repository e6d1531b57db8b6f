"""TensorBoard's custom scalars: one page about credit, one about the health of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

PAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Credit": {
        "mean and spread": ("credit/advantage_mean", "credit/advantage_std"),
        "nothing to learn from": ("credit/zero_credit_share", "credit/zero_variance_share"),
        "credit by turn": tuple(f"credit/turn_{turn}_mean" for turn in range(1, 7)),
        "is length rewarded?": ("credit/length_correlation",),
        "reward": ("reward/mean", "reward/shaped_mean", "val/success"),
    },
    "Health": {
        "success": ("reward/success", "val/success"),
        "spread of rewards within a prompt": ("reward/group_std",),
        "entropy of the policy": ("policy/entropy",),
        "engine against trainer": ("policy/mismatch_max", "policy/parity_gap"),
        "ratio and clipping": ("policy/ratio_deviation", "policy/clip_fraction"),
        "gradient norm": ("policy/grad_norm",),
        "truncated and dropped": ("rollout/truncated_share", "rollout/dropped_groups"),
        "tool errors": ("tool/error_share",),
        "length": ("rollout/turns", "rollout/tokens"),
        "seconds": ("time/rollout", "time/score", "time/update", "time/sync"),
        "what a collection waited for": ("critical/decode", "critical/tool", "critical/environment", "critical/reward"),
    },
}
"""Page → chart → names of scalars."""


class Dashboard(Callback):
    """Lays out TensorBoard's Custom Scalars tab when training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the layout, once, on the first rank."""
        layout: dict[str, Any] = {
            page: {title: ["Multiline", [f"^{name}$" for name in names]] for title, names in charts.items()}
            for page, charts in PAGES.items()
        }
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_custom_scalars(layout)
