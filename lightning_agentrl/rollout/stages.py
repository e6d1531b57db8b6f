"""A collection in stages: which prompts are branched and trained together, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch import Trainer

from lightning_agentrl.branching.base import Branching, Schedule
from lightning_agentrl.rollout.jobs import Limits


@dataclass(frozen=True)
class Stage:
    """Prompts whose branches are drawn by one policy, and the optimizer steps over them."""

    groups: tuple[int, ...]
    steps: int
    """Optimizer steps per pass."""
    explores: bool = True
    """Whether `after_group` is asked; otherwise the budget goes to roots."""


def stages(schedule: Schedule, groups: Sequence[int], minibatches: int, rng: random.Random) -> list[Stage]:
    """The stages of a collection; how many is a function of the configuration only.

    Args:
        schedule: of the brancher.
        groups: prompts of this rank.
        minibatches: optimizer steps over all of them.
        rng: shuffles the prompts where there are several stages.
    """
    if schedule == "collection":
        return [Stage(tuple(groups), minibatches)]
    order = rng.sample(list(groups), len(groups))
    if schedule == "halves":
        half = len(order) // 2
        first, second = tuple(order[:half]), tuple(order[half:])
        return [Stage(first, minibatches // 2, explores=False), Stage(second, minibatches - minibatches // 2)]
    return [Stage(tuple(order[number::minibatches]), 1) for number in range(minibatches)]


def post_hoc(branching: Branching) -> bool:
    """Whether a brancher looks at finished rollouts."""
    return type(branching).after_group is not Branching.after_group


def check_branching(branching: Branching, group_size: int, limits: Limits, dynamic_sampling: bool) -> None:
    """See that a brancher can act: that its budget divides, and that there is room for what it does."""
    branching.initial(group_size)  # raises where the budget cannot be divided
    name = type(branching).__name__
    if post_hoc(branching) and branching.least_room >= limits.max_turn_tokens:
        raise ValueError(
            f"{name} leaves room for {branching.least_room} tokens behind a branch, and a turn has at most "
            f"{limits.max_turn_tokens} (data.max_turn_tokens): nothing would branch. Lower data.branching.room."
        )
    if post_hoc(branching) and dynamic_sampling:
        raise ValueError(
            f"data.dynamic_sampling drops prompts whose outcomes are all equal, and with {name} it would see a few "
            f"roots of each, before the branches are drawn. Use one of the two."
        )


def check_schedule(branching: Branching, prompts: int, minibatches: int, ppo_epochs: int) -> None:
    """A schedule needs prompts and steps to go by.

    Args:
        branching: whose schedule.
        prompts: per rank.
        minibatches: optimizer steps per pass.
        ppo_epochs: passes.
    """
    name = type(branching).__name__
    if branching.schedule == "collection":
        return
    if ppo_epochs > 1:
        raise ValueError(f"{name} draws branches between optimizer steps, so one pass is all; got {ppo_epochs=}.")
    least = 2 if branching.schedule == "halves" else minibatches
    if minibatches < 2 or prompts < least:
        raise ValueError(
            f"{name} draws branches between optimizer steps of whole prompts: it needs data.minibatches of at least 2 "
            f"and {least} prompts per rank or more; got {minibatches=} and {prompts} prompts per rank."
        )


def check_start(plan: Sequence[Stage], trainer: Trainer) -> None:
    """Branches that were drawn between the optimizer steps of a collection cannot be drawn again."""
    if len(plan) > 1 and trainer.fit_loop.epoch_loop.batch_progress.current.ready:
        raise ValueError(
            "This checkpoint was saved between the optimizer steps of a collection, and its branches are drawn between "
            "them. Resume from one that was saved at the end of an epoch, such as last.ckpt."
        )
