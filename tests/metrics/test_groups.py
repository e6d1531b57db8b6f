"""Whether the rollouts of a group differ."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from metric_cases import many, measured, trajectory
from plain_loops import rewards

from lightning_agentrl.credit.diagnostics import zero_variance_share
from lightning_agentrl.metrics import GroupStd, ZeroVarianceShare
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.types import Reward


def group(number: int, *outcomes: float):
    return [trajectory("t", outcome, group=number) for outcome in outcomes]


def test_equal_outcomes_teach_nothing():
    rollouts = [*group(0, 1, 1, 1), *group(1, 0, 1), *group(2, 0.5), *group(3, 1, math.nan), *group(4, math.nan)]
    assert measured(ZeroVarianceShare(), rollouts) == {"reward/zero_variance_share": pytest.approx(4 / 5)}


def test_the_spread_is_that_of_shaped_rewards():
    rollouts = [*group(0, 0, 4), *group(1, 2, 2)]  # the shaped reward is half of the outcome
    assert measured(GroupStd(), rollouts) == {"reward/group_std": 0.5}  # (1 + 0) / 2


def test_a_group_without_a_finite_reward_has_no_spread():
    lost = replace(trajectory("t", 0.0, group=1), reward=Reward(0.0, math.nan))
    assert measured(GroupStd(), [*group(0, 0, 4), lost]) == {"reward/group_std": 1.0}


def test_groups_of_one_number_in_two_updates_are_two_groups():
    assert measured(ZeroVarianceShare(), group(0, 0, 0), group(0, 1, 1)) == {"reward/zero_variance_share": 1.0}


def test_rollouts_and_their_batch_say_the_same():
    rollouts = many(3, 6)
    for metric in (ZeroVarianceShare, GroupStd):
        assert measured(metric(), rollouts) == pytest.approx(measured(metric(), collate(rollouts)))


def test_numbers_are_those_of_a_plain_loop_and_of_credit():
    rollouts = [*many(4, 6), *group(6, 1, 1), *group(7, 0.1 + 0.2, 0.3)]
    assert measured(GroupStd(), rollouts)["reward/group_std"] == pytest.approx(rewards(rollouts)["reward/group_std"])
    equal = float(zero_variance_share(collate(rollouts)))
    assert measured(ZeroVarianceShare(), rollouts)["reward/zero_variance_share"] == pytest.approx(equal)
    assert 0 < equal < 1
