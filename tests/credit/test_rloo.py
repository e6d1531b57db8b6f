"""RLOO against a pencil and against the loop of its equation."""

import math

import torch
from hypothesis import assume, given
from random_batches import MANY, batches

from lightning_agentrl.credit.dr_grpo import DrGRPO
from lightning_agentrl.credit.rloo import RLOO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def slowly(batch: RolloutBatch) -> torch.Tensor:
    """R − mean of the rewards of the others; nothing without others."""
    rewards, groups = batch.rewards.tolist(), batch.group_ids.tolist()
    rows = []
    for row, turns in enumerate(batch.turn_ids.tolist()):
        others = [rewards[other] for other in range(len(rewards)) if other != row and groups[other] == groups[row]]
        advantage = rewards[row] - sum(others) / len(others) if others else 0.0
        rows.append([advantage if turn >= 0 else 0.0 for turn in turns])
    return torch.tensor(rows, dtype=torch.float64)


def test_advantages_of_a_mixed_a_failed_and_a_lone_group() -> None:
    # The others of a 10 are 0, 0, 10: 10 − 10/3 = 6.666667. Of a 0: 10, 0, 10: −20/3. verl's loop gives the last one
    # its raw 10, verl's vectorised form and we 0.
    batch = rollouts([[1]] * 9, rewards=[10, 0, 0, 10, 0, 0, 0, 0, 10], groups=[1, 1, 1, 1, 2, 2, 2, 2, 3])
    expected = torch.tensor([20, -20, -20, 20, 0, 0, 0, 0, 0]) / 3
    torch.testing.assert_close(RLOO()(batch).advantages[:, 2], expected)


def test_two_siblings_earn_their_difference() -> None:
    assert RLOO()(rollouts([[1], [1]], rewards=[0.75, 0.25])).advantages[:, 2].tolist() == [0.5, -0.5]


@MANY
@given(batches(branches=True))
def test_rloo_equals_the_loop_of_its_equation(batch: RolloutBatch) -> None:
    torch.testing.assert_close(RLOO()(batch).advantages, slowly(batch), rtol=0, atol=1e-9)


@MANY
@given(batches())
def test_rloo_is_n_over_n_minus_1_times_dr_grpo(batch: RolloutBatch) -> None:
    groups = batch.group_ids.tolist()
    sizes = [groups.count(group) for group in groups]
    factor = torch.tensor([n / max(n - 1, 1) for n in sizes], dtype=torch.float64)
    torch.testing.assert_close(
        RLOO()(batch).advantages, DrGRPO()(batch).advantages * factor[:, None], rtol=0, atol=1e-9
    )


@MANY
@given(batches())
def test_a_row_without_a_reward_earns_nothing_and_is_as_if_it_were_not_there(batch: RolloutBatch) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    advantages = RLOO()(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], RLOO()(others).advantages, rtol=0, atol=1e-9)


def test_two_siblings_of_which_one_has_no_reward_earn_nothing() -> None:
    assert not RLOO()(rollouts([[1], [2]], rewards=[1.0, math.nan])).advantages.any()


def test_equal_rewards_earn_exactly_nothing() -> None:
    # 0.9 is not a binary fraction: the mean of three differs from it in the last bit.
    assert not RLOO()(rollouts([[2], [2], [2]], rewards=[0.9, 0.9, 0.9])).advantages.any()


def test_components_add_up_to_the_credit_of_each_turn() -> None:
    credit = RLOO()(rollouts([[2, 3], [1]], rewards=[1, 0]))
    assert credit.components["outcome"].tolist() == [[1.0, 1.0], [-1.0, 0.0]]
