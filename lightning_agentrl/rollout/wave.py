"""What all trajectories that are sampled together share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import stable_seed
from lightning_agentrl.types import Task, Trajectory

if TYPE_CHECKING:
    from lightning_agentrl.rollout.sampler import Sampler

Progress = Callable[[Trajectory], None]


@dataclass(frozen=True)
class Wave:
    """One sampler, one policy, one temperature."""

    sampler: Sampler
    branching: Branching
    temperature: float
    seeds: tuple[int, int]
    """Of the run, and number of the epoch."""
    policy_version: int
    on_trajectory: Progress | None
    failures: Failures

    def episode_seed(self, task: Task) -> int:
        """Shared by all trajectories of a group."""
        return stable_seed(*self.seeds, task.id)
