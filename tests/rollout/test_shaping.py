"""Rollouts that were too long or cut: what they lose, and what they still count for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.rollout.shaping import Overlong, Shaping, without_weight
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

LENGTHS = torch.tensor([10000, 16384, 18432, 20480, 21000])


def batch() -> RolloutBatch:
    """Four siblings of 2, 4, 6 and 8 sampled tokens in two turns; the last one was cut."""
    return rollouts(
        [[1, 1], [2, 2], [3, 3], [4, 4]], rewards=[1, 0, 1, 0], truncated=[False, False, False, True], outcomes=[1] * 4
    )


@pytest.mark.parametrize(("floor", "longest"), [(-1.0, -1.0), (None, -1.126953)])
def test_the_overlong_penalty_of_dapo(floor: float | None, longest: float) -> None:
    # 0 up to 20480 − 4096 = 16384; −2048 / 4096; −1 at the limit; −4616 / 4096 behind it unless floored.
    penalty = Overlong(4096, 20480, floor)(LENGTHS)
    assert penalty.tolist() == pytest.approx([0, 0, -0.5, -1, longest], abs=1e-6)  # printed with 6 digits


def test_length_counts_sampled_tokens_over_all_turns() -> None:
    # limit 8, buffer 4: 6 tokens lose 2 / 4 and 8 lose 1; prompt and observations are not counted.
    shaped = Shaping(overlong=Overlong(4, 8))(batch())
    assert shaped.rewards.tolist() == [1, 0, 0.5, -1]


def test_truncated_rollouts_can_be_kept_as_they_are() -> None:
    shaped = Shaping()(batch())
    assert shaped.rewards.tolist() == [1, 0, 1, 0]
    assert torch.equal(shaped.trainable, batch().action_mask)


def test_truncated_rollouts_can_lose_reward() -> None:
    shaped = Shaping("penalize", 0.25)(batch())
    assert shaped.rewards.tolist() == [1, 0, 1, -0.25]
    assert torch.equal(shaped.trainable, batch().action_mask)


def test_truncated_rollouts_can_be_left_out_of_the_loss() -> None:
    shaped = Shaping("mask")(batch())
    assert shaped.rewards.tolist() == [1, 0, 1, 0]
    assert shaped.trainable.sum(1).tolist() == [2, 4, 6, 0]


def test_penalties_of_length_and_truncation_add_up() -> None:
    shaped = Shaping("penalize", 0.25, Overlong(4, 8))(batch())
    assert shaped.rewards.tolist() == [1, 0, 0.5, -1.25]


def test_raw_outcomes_stay_as_they_are() -> None:
    shaped = Shaping("penalize", 0.25, Overlong(4, 8))(batch())
    assert shaped.outcomes.tolist() == [1, 1, 1, 1]


def test_a_mask_keeps_what_was_masked_before() -> None:
    masked = replace(batch(), loss_mask=batch().action_mask & torch.tensor([[False], [True], [True], [True]]))
    assert Shaping("mask")(masked).trainable.sum(1).tolist() == [0, 4, 6, 0]


def test_a_masked_row_still_counts_in_the_baseline_of_its_group() -> None:
    # Mean of 1, 0, 1, 0 is .5; without the masked row it would be 2 / 3.
    credited, _ = apply_credit(GRPO(normalize_std=False), Shaping("mask")(batch()))
    assert credited.advantages is not None
    assert credited.advantages.amax(1).tolist()[0] == 0.5
    assert credited.advantages.amin(1).tolist()[1] == -0.5


def test_a_masked_row_is_still_masked_after_credit() -> None:
    credited, _ = apply_credit(GRPO(), Shaping("mask")(batch()))
    assert credited.trainable.sum(1).tolist() == [2, 4, 6, 0]


def test_groups_without_weight_are_out_of_the_loss_mask() -> None:
    made = rollouts([[1], [2], [3], [4]], rewards=[0] * 4, groups=[7, 3, 7, 5])
    assert without_weight(made, frozenset({7, 5})).trainable.sum(1).tolist() == [0, 2, 0, 0]


def test_groups_without_weight_add_to_what_is_masked_already() -> None:
    made = rollouts([[1], [2], [3]], rewards=[0] * 3, groups=[1, 2, 3])
    made = without_weight(without_weight(made, frozenset({1})), frozenset({3}))
    assert made.trainable.sum(1).tolist() == [0, 2, 0]


def test_where_every_group_has_weight_the_mask_stays_undecided() -> None:
    assert without_weight(batch(), frozenset()).loss_mask is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"truncated": "penalize"}, "needed there"),
        ({"truncated_penalty": 0.5}, "read with truncated=penalize"),
        ({"truncated": "mask", "truncated_penalty": 0.5}, "read with truncated=penalize"),
        ({"truncated": "penalize", "truncated_penalty": -0.5}, "must not be negative"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Shaping(**options)


@pytest.mark.parametrize(("limit", "buffer", "floor"), [(8, 0, -1.0), (8, 9, -1.0), (0, 0, -1.0), (8, 4, 0.5)])
def test_impossible_overlong_settings_are_refused(limit: int, buffer: int, floor: float) -> None:
    with pytest.raises(ValueError, match="0 < buffer ≤ limit"):
        Overlong(buffer, limit, floor)


def test_the_overlong_limit_follows_the_limits_of_a_trajectory() -> None:
    assert Overlong().within(10) == Overlong(2, 10)  # a fifth
    assert Overlong(4).within(10) == Overlong(4, 10)
    assert Overlong(4, 8).within(10) == Overlong(4, 8)
    assert Overlong(4, 12).within(10) == Overlong(4, 12)  # starts at 8 tokens, so it acts
    with pytest.raises(ValueError, match="never acts: it starts at 10 tokens, and a trajectory may say 10"):
        Overlong(4, 14).within(10)
    with pytest.raises(ValueError, match="0 < buffer ≤ limit"):
        Overlong(11).within(10)
