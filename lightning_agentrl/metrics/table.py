"""The shape of our metrics: a table that grows row by row, is stacked over ranks, and is read once at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class Table(Metric, ABC):
    """Named columns, each one-dimensional and of a fixed type, that only grow.

    Ranks exchange columns, never numbers computed from them, so that a mean over ranks of unequal size is the mean over
    their rows, and a quantile that of all rows. The names of the states and so the number and kind of collectives are
    those of ``columns``, whatever a rank saw: no rank can wait for another that has nothing to say. What is named by
    the data, such as tools, travels inside of columns; see `names`.

    Call ``update`` on each rank before ``compute``, with no rollouts if there are none: ``compute`` is a collective
    call, and torchmetrics warns of one without an update.
    """

    full_state_update = False
    is_differentiable = False
    columns: ClassVar[Mapping[str, torch.dtype]]
    """Tables of equal columns must fill them alike: torchmetrics lets such metrics of a collection share one state.
    No float64, which not every accelerator knows."""

    def __init__(self, section: str) -> None:
        super().__init__()
        self.section = section
        for name in self.columns:
            self.add_state(name, [], dist_reduce_fx="cat")

    @abstractmethod
    def numbers(self) -> Mapping[str, Tensor | float]:
        """What the columns of all ranks say, without the section; NaN where there is nothing to compute from."""

    def compute(self) -> dict[str, Tensor]:
        """The numbers under their logged names, equal on all ranks."""
        found = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in self.numbers().items()}
        return {f"{self.section}/{name}": v.to(self.device) for name, v in found.items() if not v.isnan()}

    def add_rows(self, **columns: Sequence[float] | Tensor) -> None:
        """Let columns grow, each by as many rows as it is given."""
        for name, rows in columns.items():
            state = self.metric_state[name]
            state.append(torch.as_tensor(rows, dtype=self.columns[name], device=self.device))  # type: ignore[union-attr]

    def column(self, name: str) -> Tensor:
        """All rows of a column, on the CPU: there is little to compute, and much that runs in float64."""
        return self._joined(name).cpu()

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Stack the columns of all ranks.

        Every rank sends one tensor of the column's own type. Left alone, torchmetrics sends float32 for a column that
        never had an update, where the others may send int64: gloo then ends the process. A module that holds the metric
        may also have been cast, as Lightning does for ``bf16-true``.
        """
        for name in self.columns:
            setattr(self, name, [self._joined(name)])
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _joined(self, name: str) -> Tensor:
        dtype, state = self.columns[name], self.metric_state[name]
        parts = state if isinstance(state, list) else [state]
        return torch.cat([torch.empty(0, dtype=dtype, device=self.device), *(part.to(dtype) for part in parts)])
