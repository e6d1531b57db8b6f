"""GRPO against a pencil (reference values: verl and TRL on the same rewards) and against the loop of its equation."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

OPTIONS = st.sampled_from(
    [GRPO(), GRPO(eps=1e-4), GRPO(ddof=0, eps=0.0), GRPO(normalize_std=False), GRPO(ddof=0, normalize_std=False)]
)


def credit_of_rows(assigner: GRPO, batch: RolloutBatch) -> torch.Tensor:
    """The single value that each row's action tokens share."""
    advantages = assigner(batch).advantages
    return torch.stack(
        [row[mask].unique(sorted=True)[0] for row, mask in zip(advantages, batch.action_mask, strict=True)]
    )


def slowly(assigner: GRPO, batch: RolloutBatch) -> torch.Tensor:
    """(R − mean of the group) / (std of the group + eps), one row after the other."""
    rewards, groups = batch.rewards.tolist(), batch.group_ids.tolist()
    rows = []
    for row, turns in enumerate(batch.turn_ids.tolist()):
        siblings = [reward for reward, group in zip(rewards, groups, strict=True) if group == groups[row]]
        advantage = 0.0
        if max(siblings) > min(siblings):
            mean = sum(siblings) / len(siblings)
            squares = sum((reward - mean) ** 2 for reward in siblings)
            advantage = rewards[row] - mean
            if assigner.normalize_std:
                advantage /= math.sqrt(squares / (len(siblings) - assigner.ddof)) + assigner.eps
        rows.append([advantage if turn >= 0 else 0.0 for turn in turns])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("assigner", "expected"),
    [
        # Mean 5; squared deviations 4·25 = 100; sample std sqrt(100/3) = 5.773503; ±5/5.773503 = ±0.866025.
        (GRPO(), 0.866025),
        # ±5/(5.773503 + 1e-4) = ±0.866010.
        (GRPO(eps=1e-4), 0.866010),
        # Population std sqrt(100/4) = 5; ±5/5 = ±1.
        (GRPO(ddof=0), 1.0),
        (GRPO(normalize_std=False), 5.0),
    ],
)
def test_advantages_of_one_group(assigner: GRPO, expected: float) -> None:
    batch = rollouts([[2], [1], [3], [2]], rewards=[10, 0, 0, 10])
    # Printed to six digits.
    torch.testing.assert_close(
        credit_of_rows(assigner, batch), torch.tensor([1.0, -1.0, -1.0, 1.0]) * expected, atol=2e-6, rtol=0
    )


def test_a_mixed_a_failed_and_a_lone_group_in_one_batch() -> None:
    # The group of four as above; four failures are equal; verl gives the last one 10 / (1 + 1e-6), we 0.
    batch = rollouts([[1]] * 9, rewards=[10, 0, 0, 10, 0, 0, 0, 0, 10], groups=[1, 1, 1, 1, 2, 2, 2, 2, 3])
    expected = torch.tensor([1.0, -1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]) * 0.866025
    torch.testing.assert_close(credit_of_rows(GRPO(), batch), expected, atol=2e-6, rtol=0)  # printed to six digits


def test_statistics_are_over_trajectories_not_over_turns() -> None:
    # Mean 10/3, sample std sqrt((44.4444 + 2·11.1111) / 2) = 5.773503: 6.666667/5.773503 and −3.333333/5.773503.
    # Over the eight turns it would be [.935414, −.935414, −.935414], as in verl-agent.
    batch = rollouts([[1, 1, 1, 1], [1], [1, 1, 1]], rewards=[10, 0, 0])
    torch.testing.assert_close(
        credit_of_rows(GRPO(), batch), torch.tensor([1.154700, -0.577350, -0.577350]), atol=2e-6, rtol=0
    )


@MANY
@given(batches(), OPTIONS)
def test_grpo_equals_the_loop_of_its_equation(batch: RolloutBatch, assigner: GRPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), OPTIONS)
def test_a_branch_is_a_sibling_like_any_other(batch: RolloutBatch, assigner: GRPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches())
def test_without_eps_the_unit_of_the_reward_does_not_matter(batch: RolloutBatch) -> None:
    other = replace(batch, rewards=batch.rewards * 8 + 3)
    torch.testing.assert_close(GRPO(eps=0.0)(other).advantages, GRPO(eps=0.0)(batch).advantages, rtol=0, atol=1e-9)


@MANY
@given(batches(), OPTIONS)
def test_a_row_without_a_reward_earns_nothing_and_is_as_if_it_were_not_there(
    batch: RolloutBatch, assigner: GRPO
) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    advantages = assigner(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], assigner(others).advantages, rtol=0, atol=1e-9)


def test_equal_rewards_earn_exactly_nothing() -> None:
    # 0.9 is not a binary fraction: the mean of three differs from it in the last bit, and eps is far below that.
    batch = rollouts([[2], [2], [2]], rewards=[0.9, 0.9, 0.9])
    assert not GRPO(eps=0.0)(batch).advantages.any()


def test_a_lone_rollout_earns_nothing() -> None:
    assert not GRPO()(rollouts([[2]], rewards=[10])).advantages.any()


def test_groups_are_compared_with_themselves_only() -> None:
    batch = rollouts([[1], [1], [1], [1]], rewards=[1, 0, 100, 98], groups=[0, 0, 1, 1])
    torch.testing.assert_close(credit_of_rows(GRPO(normalize_std=False), batch), torch.tensor([0.5, -0.5, 1.0, -1.0]))


def test_every_turn_of_a_row_earns_the_same_and_components_say_so() -> None:
    batch = rollouts([[2, 3], [1]], rewards=[1, 0])
    credit = GRPO(normalize_std=False)(batch)
    # prompt 2, turn of 2, observation 2, turn of 3
    assert credit.advantages[0].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0.5, 0.5, 0.5]
    assert credit.components["outcome"].tolist() == [[0.5, 0.5], [-0.5, 0.0]]


@pytest.mark.parametrize("options", [{"ddof": 2}, {"eps": -1.0}, {"eps": math.nan}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        GRPO(**options)  # type: ignore[arg-type]
