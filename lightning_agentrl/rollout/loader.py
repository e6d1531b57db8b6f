"""A DataLoader over something that is rolled out when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader, IterableDataset

from lightning_agentrl.types import RolloutBatch


def sized_loader(source: Callable[[], Iterator[RolloutBatch]], length: int) -> DataLoader[RolloutBatch]:
    """Sized and lazy: Lightning knows the number of batches before the first of them exists."""
    # Workers would collect in another process, without the engine.
    return DataLoader(_Sized(source, length), batch_size=None, num_workers=0)


class _Sized(IterableDataset[RolloutBatch]):
    def __init__(self, source: Callable[[], Iterator[RolloutBatch]], length: int) -> None:
        self.source = source
        self.length = length

    def __iter__(self) -> Iterator[RolloutBatch]:
        return self.source()

    def __len__(self) -> int:
        return self.length
