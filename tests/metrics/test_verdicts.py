"""What trajectories earned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from metric_cases import many, measured, trajectory
from plain_loops import rewards, success_by
from torchmetrics import MetricCollection

from lightning_agentrl.metrics import GroupStd, SuccessBy, VerdictParts, Verdicts
from lightning_agentrl.types import Reward, Task, Trajectory


def judged(outcome: float, shaped: float, **parts: float) -> Trajectory:
    return replace(trajectory(), reward=Reward(outcome, shaped, parts))


def about(outcome: float, **meta: object) -> Trajectory:
    return replace(trajectory("t", outcome), task=Task("t", (), meta=meta))


def test_rewards_are_shaped_and_success_is_not():
    found = measured(
        Verdicts(), [judged(1, 0.5), judged(0.5, 1.0), judged(0, math.nan), replace(trajectory(), reward=None)]
    )
    assert found == {"reward/mean": 0.5, "reward/success": 0.25}  # (0.5 + 1 + 0) / 3


def test_a_part_is_averaged_over_the_verdicts_that_have_it():
    rollouts = [judged(1, 1, exact=1.0, format=0.5), judged(0, 0, exact=0.0, format=math.inf), judged(0, 0)]
    assert measured(VerdictParts("val"), rollouts) == {"val/part_exact": 0.5, "val/part_format": 0.5}


def test_success_is_split_by_what_tasks_say_of_themselves():
    rollouts = [about(1, hops=2), about(0, hops=2), about(1, hops=3), about(1, kind="other")]
    assert measured(SuccessBy("hops"), rollouts) == {"val/success_hops_2": 0.5, "val/success_hops_3": 1.0}


def test_metrics_of_two_keys_keep_apart_in_a_collection():
    collection = MetricCollection({"hops": SuccessBy("hops"), "kind": SuccessBy("kind")})
    collection.update([about(0)])  # has neither, so that both tables are empty
    collection.update([about(1, hops=2, kind="x")])
    assert collection.compute() == {"val/success_hops_2": 1, "val/success_kind_x": 1}


def test_numbers_are_those_of_a_plain_loop():
    rollouts = many(5, 5)
    found = measured(Verdicts(), rollouts) | measured(VerdictParts(), rollouts) | measured(GroupStd(), rollouts)
    assert found == pytest.approx(rewards(rollouts))
    assert measured(SuccessBy("hops"), rollouts) == pytest.approx(success_by(rollouts, "hops"))
