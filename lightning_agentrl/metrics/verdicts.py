"""What trajectories earned: reward, success, parts of the verdicts, and success split by a property of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_agentrl.metrics.names import dictionary, key, spelling
from lightning_agentrl.metrics.table import Table
from lightning_agentrl.types import Trajectory


class Verdicts(Table):
    """``mean`` of the finite shaped rewards; ``success``, the share of trajectories with an outcome of at least 1."""

    columns: ClassVar = {"rewards": torch.float32, "results": torch.float32}
    higher_is_better = True

    def __init__(self, section: str = "reward") -> None:
        super().__init__(section)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add verdicts; without one, reward and outcome are 0."""
        verdicts = [trajectory.reward for trajectory in trajectories]
        self.add_rows(
            rewards=[verdict.shaped if verdict else 0.0 for verdict in verdicts],
            results=[trajectory.outcome for trajectory in trajectories],
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        success = self.column("results") >= 1
        return {"mean": _finite_mean(self.column("rewards")), "success": success.double().mean()}


class VerdictParts(Table):
    """``part_<name>``: mean of a part of the verdicts, unweighted, over those that have it as a finite number."""

    columns: ClassVar = {"parts": torch.int64, "amounts": torch.float32, "part_names": torch.uint8}

    def __init__(self, section: str = "reward") -> None:
        super().__init__(section)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add verdicts."""
        verdicts = [trajectory.reward for trajectory in trajectories if trajectory.reward]
        parts = [part for verdict in verdicts for part in verdict.components.items()]
        self.add_rows(
            parts=[key(name) for name, _ in parts],
            amounts=[amount for _, amount in parts],
            part_names=spelling(name for name, _ in parts),
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        parts, amounts, names = self.column("parts"), self.column("amounts"), dictionary(self.column("part_names"))
        return {f"part_{name}": _finite_mean(amounts[parts == number]) for number, name in names.items()}


class SuccessBy(Table):
    """Success split by a value in the tasks' meta data, ``success_<key>_<value>``; tasks without it are left out.

    Args:
        key: of the meta data, of few different values: each becomes a curve.
        section: first part of the logged names.
    """

    columns: ClassVar = {"values": torch.int64, "split_results": torch.float32, "value_names": torch.uint8}
    higher_is_better = True

    def __init__(self, key: str, section: str = "val") -> None:
        super().__init__(section)
        self.key = key

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Add outcomes."""
        held = [trajectory for trajectory in trajectories if self.key in trajectory.task.meta]
        values = [str(trajectory.task.meta[self.key]) for trajectory in held]
        self.add_rows(
            values=[key(value) for value in values],
            split_results=[trajectory.outcome for trajectory in held],
            # With the key, so that metrics of two keys never have equal states: a collection would let them share one.
            value_names=spelling([self.key, *values]),
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        values, success = self.column("values"), self.column("split_results") >= 1
        names = dictionary(self.column("value_names"))
        return {f"success_{self.key}_{name}": success[values == n].double().mean() for n, name in names.items()}


def _finite_mean(values: Tensor) -> Tensor:
    return values[values.isfinite()].double().mean()
