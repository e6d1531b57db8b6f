"""What a run says: our own lines on standard output, and not what libraries say about choices that are ours."""

from __future__ import annotations

import logging
import warnings
from typing import TextIO

from transformers.utils.logging import disable_progress_bar


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes bare messages to whatever standard output is at that moment."""

    def __init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)  # noqa: T201


def quiet() -> None:
    """Leave out what libraries say about choices that are ours, and print what ours log; for a process of one's own."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    ours = logging.getLogger("lightning_agentrl")
    if not ours.handlers:
        ours.addHandler(_Stdout())
        ours.setLevel(logging.INFO)
    for name in ("torch._library.triton", "torch.distributed.tensor._redistribute"):
        logging.getLogger(name).setLevel(logging.ERROR)
    disable_progress_bar()
    for pattern in (
        ".*IterableDataset.*has `__len__` defined.*",
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*`?instantiate_classes`? was deprecated.*",
        ".*LightningCLI's args parameter is intended to run from within Python.*",
        ".*It is recommended to use `self.log\\(.*sync_dist=True\\)`.*",
    ):
        warnings.filterwarnings("ignore", pattern)
