"""Branches off finished rollouts: look at them, choose where, sample, and score what is new."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lightning_agentrl.rollout.collector import Collector
from lightning_agentrl.rollout.preparation import Preparation, Prepared
from lightning_agentrl.rollout.sampler import Grown
from lightning_agentrl.types import Trajectory


def second_wave(
    part: Prepared,
    prepare: Preparation,
    collector: Collector,
    *,
    budget: int,
    seed: int,
    epoch: int,
    rng: random.Random,
    explores: bool,
    moved: bool,
    wake: Callable[[], None],
) -> tuple[Prepared, list[Trajectory]]:
    """Fill every prompt up to its budget with branches, or with further roots.

    Args:
        part: prompts with their roots.
        prepare: makes rows of trajectories.
        collector: samples.
        budget: trajectories of a prompt, roots included.
        seed: of the run.
        epoch: number of the collection.
        rng: of the choice.
        explores: whether there are branches at all; otherwise roots take their place.
        moved: whether the policy was trained since the rows were scored.
        wake: makes the engine ready to sample with the present policy.

    Returns:
        The rows of both waves, and what is new of the trajectories.

    Raises:
        RuntimeError: when the environment failed in every prompt.
    """
    learner = prepare.learner
    with collector.clock.phase("score"):
        part = prepare.look_again(part) if moved and explores else part
        grown = prepare.grown(part, budget, rng, explores)
    wake()
    new = collector.extend(grown, learner, temperature=learner.temperature, seed=seed, epoch=epoch)
    collector.rest()
    with collector.clock.phase("score"):
        part = prepare.extended(_whole(part, grown, new), new)
    collector.failures.check(part.trajectories)
    return part, new


def _whole(part: Prepared, grown: Sequence[Grown], new: Sequence[Trajectory]) -> Prepared:
    """Without the prompts that were dropped: those that got nothing of what they were to get."""
    came = {trajectory.group for trajectory in new}
    whole = [prompt.job.group for prompt in grown if prompt.job.group in came or not prompt.missing]
    return part.of(whole) if len(whole) < len(grown) else part
