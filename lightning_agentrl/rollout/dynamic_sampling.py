"""Dynamic sampling (DAPO): groups whose outcomes are all equal teach nothing, so others take their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.types import Trajectory


@dataclass(frozen=True)
class DynamicSampling:
    """Roll out more prompts than are needed and keep those whose outcomes differ (arXiv:2503.14476, §3.2).

    Looks at raw outcomes: penalties would make a group of equal outcomes look different. Every rank refills its own
    share, without talking to the others.
    """

    oversample: float = 1.5
    """Prompts rolled out per prompt still missing, at least 1."""
    max_rounds: int = 3
    """Most rounds of a collection, at least 1; what is missing then is filled with groups that have no weight."""
    epsilon: float = 0.0
    """A group is dropped when its outcomes differ by no more than this."""

    def __post_init__(self) -> None:
        if self.oversample < 1 or self.max_rounds < 1 or self.epsilon < 0:
            raise ValueError(
                f"dynamic_sampling needs oversample ≥ 1, max_rounds ≥ 1 and epsilon ≥ 0, got {self.oversample}, "
                f"{self.max_rounds} and {self.epsilon}."
            )


@dataclass(frozen=True)
class Sampled:
    """What came of a collection's prompts."""

    kept: list[Trajectory]
    """The whole groups that make up the batch."""
    weightless: frozenset[int] = frozenset()
    """Groups of the batch that only fill it up."""
    sampled: tuple[Trajectory, ...] = ()
    """Everything that was rolled out, in order: what the policy really did."""
    metrics: tuple[tuple[str, float], ...] = ()


def refill(
    settings: DynamicSampling | None,
    jobs: Sequence[Job],
    more: Iterator[Job],
    roll_out: Callable[[Sequence[Job]], list[Trajectory]],
) -> Sampled:
    """Roll out until as many groups as there are ``jobs`` have outcomes that differ, or the cap is reached.

    Args:
        settings: how much to over-sample, how often, and what counts as equal; None keeps the first groups as they are.
        jobs: the prompts of the collection; their number is the quota.
        more: further prompts.
        roll_out: whole groups for prompts.
    """
    if settings is None:
        trajectories = roll_out(jobs)
        return Sampled(trajectories, sampled=tuple(trajectories))
    quota = len(jobs)
    waiting = iter([*jobs])
    sampled: list[Trajectory] = []
    groups: dict[int, list[Trajectory]] = {}
    informative: list[int] = []
    rounds = 0
    while len(informative) < quota and rounds < settings.max_rounds:
        wanted = math.ceil((quota - len(informative)) * settings.oversample)
        batch = [*islice(waiting, wanted)]
        batch += islice(more, wanted - len(batch))
        if not batch:
            break
        rounds += 1
        for group, members in groupby(roll_out(batch), key=lambda trajectory: trajectory.group):
            groups[group] = list(members)
            sampled += groups[group]
            if spread(groups[group]) > settings.epsilon:
                informative.append(group)
    chosen = informative[:quota]
    fillers = [group for group in groups if group not in set(informative)][: quota - len(chosen)]
    return Sampled(
        kept=[trajectory for group in [*chosen, *fillers] for trajectory in groups[group]],
        weightless=frozenset(fillers),
        sampled=tuple(sampled),
        metrics=(
            ("dynamic/rounds", float(rounds)),
            ("dynamic/sampled_groups", float(len(groups))),
            ("dynamic/dropped_share", 1 - len(informative) / max(len(groups), 1)),
            ("dynamic/filled_share", len(fillers) / quota),
        ),
    )


def spread(group: Sequence[Trajectory]) -> float:
    """Greatest minus least raw outcome; what is NaN or infinite does not count."""
    outcomes = [trajectory.outcome for trajectory in group if math.isfinite(trajectory.outcome)]
    return max(outcomes) - min(outcomes) if outcomes else 0.0
