"""What was rolled out last, for callbacks to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lightning_agentrl.environments.base import Split
from lightning_agentrl.rollout.critical_path import CriticalPath
from lightning_agentrl.rollout.phases import PhaseClock
from lightning_agentrl.types import RolloutBatch, Signal, Trajectory


@dataclass(frozen=True)
class Collection:
    """The trajectories of a collection and their rows, on this rank."""

    split: Split
    epoch: int
    policy_version: int
    trajectories: list[Trajectory]
    batch: RolloutBatch
    """With every signal and credit that it was given; rows in the order of the trajectories."""
    paths: Sequence[CriticalPath] = ()
    """What each wave waited for."""


class Collecting(Protocol):
    """What callbacks may look at and ask for: a data module that collects."""

    @property
    def clock(self) -> PhaseClock:
        """Tells listeners which phase a collection is in."""

    last: dict[Split, Collection]
    """What was rolled out last for each split, on this rank."""
    wanted: Signal
    """Signals that the next training collection is to hold beside those that it is trained with."""
    seed: int
    """Of prompt order and requests."""
