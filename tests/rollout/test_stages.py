"""Stages of a collection: every prompt once, equally many steps, by the configuration alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lightning_agentrl.branching.base import Branching, Schedule
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.rollout.jobs import Limits
from lightning_agentrl.rollout.stages import Stage, check_branching, check_schedule, post_hoc, stages

GROUPS = [3, 5, 7, 9, 11, 13, 15]


def plan(schedule: Schedule, minibatches: int, seed: int = 0) -> list[Stage]:
    return stages(schedule, GROUPS, minibatches, random.Random(seed))


@pytest.mark.parametrize("schedule", ["collection", "halves", "steps"])
@pytest.mark.parametrize("minibatches", [2, 3, 7])
def test_every_prompt_is_in_one_stage_and_every_step_in_one(schedule: Schedule, minibatches: int) -> None:
    found = plan(schedule, minibatches)
    assert sorted(group for stage in found for group in stage.groups) == GROUPS
    assert sum(stage.steps for stage in found) == minibatches


@pytest.mark.parametrize("schedule", ["collection", "halves", "steps"])
def test_how_many_prompts_and_steps_a_stage_has_does_not_depend_on_chance(schedule: Schedule) -> None:
    shapes = [[(len(s.groups), s.steps, s.explores) for s in plan(schedule, 4, seed)] for seed in range(5)]
    assert shapes == [shapes[0]] * 5


def test_a_collection_is_one_stage_in_the_order_given() -> None:
    assert plan("collection", 4) == [Stage(tuple(GROUPS), 4)]


def test_halves_explore_only_once_the_policy_has_moved() -> None:
    first, second = plan("halves", 5)
    assert (len(first.groups), first.steps, first.explores) == (3, 2, False)
    assert (len(second.groups), second.steps, second.explores) == (4, 3, True)


def test_steps_have_one_stage_each() -> None:
    found = plan("steps", 3)
    assert [(len(stage.groups), stage.steps, stage.explores) for stage in found] == [
        (3, 1, True),
        (2, 1, True),
        (2, 1, True),
    ]


@pytest.mark.parametrize("schedule", ["halves", "steps"])
def test_which_prompts_come_first_is_drawn(schedule: Schedule) -> None:
    assert len({plan(schedule, 2, seed)[0].groups for seed in range(5)}) == 5
    assert plan(schedule, 2, 1) == plan(schedule, 2, 1)


def test_who_looks_at_finished_rollouts() -> None:
    assert [post_hoc(b) for b in (Independent(), EntropyBranching(), ProceduralBranching())] == [False, False, True]


def check(branching: Branching, group_size: int = 4, **settings: Any) -> None:
    limits = Limits(3, settings.pop("max_turn_tokens", 64), 512)
    check_branching(branching, group_size, limits, settings.pop("dynamic_sampling", False))
    check_schedule(branching, **{"prompts": 8, "minibatches": 4, "ppo_epochs": 1, **settings})


HALVES, STEPS = ProceduralBranching(source="half-step"), ProceduralBranching()


@pytest.mark.parametrize(
    ("branching", "settings", "complaint"),
    [
        (STEPS, {"ppo_epochs": 2}, r"one pass is all; got ppo_epochs=2"),
        (HALVES, {"ppo_epochs": 2}, r"one pass is all; got ppo_epochs=2"),
        (STEPS, {"minibatches": 1}, r"minibatches of at least 2 .* got minibatches=1"),
        (HALVES, {"minibatches": 1}, r"minibatches of at least 2 .* got minibatches=1"),
        (STEPS, {"prompts": 3}, r"4 prompts per rank or more; got minibatches=4 and 3 prompts"),
        (HALVES, {"prompts": 1}, r"2 prompts per rank or more; got minibatches=4 and 1 prompts"),
        (STEPS, {"group_size": 6}, r"N·\(branches \+ 1\)"),
        (EntropyBranching(initial_roots=5), {}, r"starts 5 roots"),
        (STEPS, {"max_turn_tokens": 16}, r"room for 16 tokens behind a branch, and a turn has at most 16"),
        (STEPS, {"dynamic_sampling": True}, r"would see a few roots of each"),
    ],
)
def test_a_schedule_without_prompts_or_steps_to_go_by_is_refused(
    branching: Branching, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        check(branching, **settings)


@pytest.mark.parametrize(
    ("branching", "settings"),
    [
        (STEPS, {"prompts": 4}),
        (STEPS, {"max_turn_tokens": 17}),
        (EntropyBranching(), {"dynamic_sampling": True}),
        (HALVES, {"prompts": 2, "minibatches": 2}),
        (Independent(), {"ppo_epochs": 2, "minibatches": 1, "prompts": 1}),
        (EntropyBranching(), {"ppo_epochs": 2, "minibatches": 1, "prompts": 1}),
        (ProceduralBranching(source="snapshot"), {"ppo_epochs": 2, "minibatches": 1, "prompts": 1}),
    ],
)
def test_whatever_can_be_staged_is_accepted(branching: Branching, settings: dict[str, Any]) -> None:
    check(branching, **settings)
