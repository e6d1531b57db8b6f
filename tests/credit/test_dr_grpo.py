"""Dr.GRPO against a pencil and against the loop of its equation."""

import math
from dataclasses import replace

import torch
from hypothesis import assume, given
from random_batches import MANY, batches

from lightning_agentrl.credit.dr_grpo import DrGRPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def slowly(batch: RolloutBatch) -> torch.Tensor:
    """R − mean of the group, one row after the other."""
    rewards, groups = batch.rewards.tolist(), batch.group_ids.tolist()
    rows = []
    for row, turns in enumerate(batch.turn_ids.tolist()):
        siblings = [reward for reward, group in zip(rewards, groups, strict=True) if group == groups[row]]
        advantage = rewards[row] - sum(siblings) / len(siblings)
        rows.append([advantage if turn >= 0 else 0.0 for turn in turns])
    return torch.tensor(rows, dtype=torch.float64)


def test_advantages_of_a_mixed_a_failed_and_a_lone_group() -> None:
    # Mean 5: 10 − 5 and 0 − 5. Four failures differ by nothing. verl gives the last one its raw 10, we 0.
    batch = rollouts([[1]] * 9, rewards=[10, 0, 0, 10, 0, 0, 0, 0, 10], groups=[1, 1, 1, 1, 2, 2, 2, 2, 3])
    assert DrGRPO()(batch).advantages[:, 2].tolist() == [5, -5, -5, 5, 0, 0, 0, 0, 0]


def test_a_long_row_earns_as_much_per_token_as_a_short_one() -> None:
    advantages = DrGRPO()(rollouts([[1, 4], [1]], rewards=[1, 0])).advantages
    # prompt 2, turn of 1, observation 2, turn of 4
    assert advantages[0].tolist() == [0, 0, 0.5, 0, 0, 0.5, 0.5, 0.5, 0.5]


@MANY
@given(batches(branches=True))
def test_dr_grpo_equals_the_loop_of_its_equation(batch: RolloutBatch) -> None:
    torch.testing.assert_close(DrGRPO()(batch).advantages, slowly(batch), rtol=0, atol=1e-9)


@MANY
@given(batches())
def test_dr_grpo_is_grpo_without_the_division(batch: RolloutBatch) -> None:
    assert torch.equal(DrGRPO()(batch).advantages, GRPO(normalize_std=False)(batch).advantages)


@MANY
@given(batches())
def test_rewards_ten_times_as_large_earn_ten_times_as_much(batch: RolloutBatch) -> None:
    other = replace(batch, rewards=batch.rewards * 10)
    torch.testing.assert_close(DrGRPO()(other).advantages, DrGRPO()(batch).advantages * 10, rtol=0, atol=1e-9)


@MANY
@given(batches())
def test_a_row_without_a_reward_earns_nothing_and_is_as_if_it_were_not_there(batch: RolloutBatch) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    advantages = DrGRPO()(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], DrGRPO()(others).advantages, rtol=0, atol=1e-9)


def test_equal_rewards_earn_exactly_nothing() -> None:
    # 0.9 is not a binary fraction: the mean of three differs from it in the last bit.
    assert not DrGRPO()(rollouts([[2], [2], [2]], rewards=[0.9, 0.9, 0.9])).advantages.any()


def test_components_add_up_to_the_credit_of_each_turn() -> None:
    credit = DrGRPO()(rollouts([[2, 3], [1]], rewards=[1, 0]))
    assert credit.components["outcome"].tolist() == [[0.5, 0.5], [-0.5, 0.0]]
