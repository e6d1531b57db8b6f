"""MT-GRPO against a pencil and against the loops of its two forms."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.mt_grpo import MTGRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

TWO_TURN = [MTGRPO(), MTGRPO(turn_weight=0.3, ddof=0, eps=0.0), MTGRPO(turn_weight=-2.0, eps=1e-2)]
K_TURN = [
    MTGRPO(form="k-turn"),
    MTGRPO(form="k-turn", turn_weight=0.3, gamma=0.5, ddof=0, eps=0.0),
    MTGRPO(form="k-turn", turn_weight=-2.0, gamma=0.0, eps=1e-2),
]


def z(value: float, sample: list[float], assigner: MTGRPO) -> float:
    """(value − mean) / (std + eps); 0 where the sample does not vary."""
    if len(set(sample)) < 2:
        return 0.0
    mean = sum(sample) / len(sample)
    std = math.sqrt(sum((x - mean) ** 2 for x in sample) / (len(sample) - assigner.ddof))
    return (value - mean) / (std + assigner.eps)


def per_token(credit: dict[tuple[int, int], float], batch: RolloutBatch) -> Tensor:
    rows = [[credit[row, t] if t >= 0 else 0.0 for t in turns] for row, turns in enumerate(batch.turn_ids.tolist())]
    return torch.tensor(rows, dtype=torch.float64)


def turn_rewards(batch: RolloutBatch) -> list[list[float]]:
    """Reward minus penalty of each turn."""
    pairs = zip(batch.turn_rewards.tolist(), batch.turn_penalties.tolist(), strict=True)
    return [[reward - penalty for reward, penalty in zip(*pair, strict=True)] for pair in pairs]


def two_turn_slowly(assigner: MTGRPO, batch: RolloutBatch) -> Tensor:
    """Up to the first tool result A_O + c·A_T, then A_O; z(r_T + r_O) everywhere in a row without a tool call."""
    credit = {}
    rewards, first = batch.rewards.tolist(), [row[0] for row in turn_rewards(batch)]
    for row, group in enumerate(batch.group_ids.tolist()):
        siblings = [other for other in range(len(batch)) if batch.group_ids[other] == group]
        outcome = z(rewards[row], [rewards[other] for other in siblings], assigner)
        turn = z(first[row], [first[other] for other in siblings], assigner)
        mixed = z(rewards[row] + first[row], [rewards[other] + first[other] for other in siblings], assigner)
        called = any(batch.process_mask[row].tolist())
        for number in range(int(batch.turn_mask[row].sum())):
            early = outcome + assigner.turn_weight * turn if number == 0 else outcome
            credit[row, number] = early if called else mixed
    return per_token(credit, batch)


def k_turn_slowly(assigner: MTGRPO, batch: RolloutBatch) -> Tensor:
    """z(R) + c·Σ_{l≥t} γ^{l−t}·z_l; a turn copied from a parent is measured, not counted."""
    groups, ends = batch.group_ids.tolist(), batch.turn_ends.tolist()
    lengths, rewards = batch.turn_mask.sum(1).tolist(), turn_rewards(batch)
    credit = {}
    for row, group in enumerate(groups):
        siblings = [other for other in range(len(batch)) if groups[other] == group]
        outcome = z(batch.rewards[row].item(), [batch.rewards[other].item() for other in siblings], assigner)
        ahead = 0.0
        for turn in reversed(range(lengths[row])):
            sample = [
                rewards[other][turn]
                for other in siblings
                if turn < lengths[other] and not 0 <= ends[other][turn + 1] <= batch.inherited[other]
            ]
            ahead = z(rewards[row][turn], sample, assigner) + assigner.gamma * ahead
            credit[row, turn] = outcome + assigner.turn_weight * ahead
    return per_token(credit, batch)


# r_T = [.2, .4, 0, 0]: mean .15, squares .0025 + .0625 + 2·.0225 = .11, std sqrt(.11/3) = .191485, eps 1e-4;
# A_T = [.05, .25, −.15, −.15] / .191585. r_O = [1, 0, 0, 1]: std sqrt(1/3), A_O = ±.5/.577450 = ±.865875.
FIRST, OUTCOME = [0.2, 0.4, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]


def test_the_first_turn_earns_turn_and_outcome_and_the_second_the_outcome() -> None:
    batch = rollouts([[1, 1]] * 4, OUTCOME, turn_rewards=[[reward, 0.0] for reward in FIRST])
    expected = torch.tensor([[1.126856, 0.865875], [0.439026, -0.865875], [-1.648816, -0.865875], [0.082935, 0.865875]])
    # Printed to six digits, here and below. Columns: prompt 2, action, observation 2, action.
    torch.testing.assert_close(MTGRPO()(batch).advantages[:, [2, 5]], expected, atol=2e-6, rtol=0)


def test_the_two_parts_are_told_apart() -> None:
    batch = rollouts([[1, 1]] * 4, OUTCOME, turn_rewards=[[reward, 0.0] for reward in FIRST])
    expected = torch.tensor([[0.260980, 0.0], [1.304901, 0.0], [-0.782941, 0.0], [-0.782941, 0.0]])
    torch.testing.assert_close(MTGRPO()(batch).components["turn reward"], expected, atol=2e-6, rtol=0)


def test_without_a_tool_call_the_two_rewards_are_compared_as_a_sum() -> None:
    # Sums [1.2, .4, 0, 1]: mean .65, squares .3025 + .0625 + .4225 + .1225 = .91, std sqrt(.91/3) = .550757.
    batch = rollouts([[1]] * 4, OUTCOME, turn_rewards=[[reward] for reward in FIRST])
    expected = torch.tensor([0.998444, -0.453838, -1.179979, 0.635374])
    torch.testing.assert_close(MTGRPO()(batch).advantages[:, 2], expected, atol=2e-6, rtol=0)


def test_only_the_rows_without_a_call_fall_back() -> None:
    # The numbers of the two tests above: rows 1 and 3 answer at once, the others call and are cut.
    batch = rollouts(
        [[1]] * 4, OUTCOME, turn_rewards=[[reward] for reward in FIRST], answered=[True, False, True, False]
    )
    credit = MTGRPO()(batch)
    expected = torch.tensor([0.998444, 0.439026, -1.179979, 0.082935])
    torch.testing.assert_close(credit.advantages[:, 2], expected, atol=2e-6, rtol=0)
    assert credit.metrics["no_call_share"] == 0.5


def test_three_turns_earn_what_is_ahead_of_them() -> None:
    # Turn 1 as A_T above; turn 2 [0, .1, .3, 0] has mean .1, std .141421; turn 3 [.5, 0, .1, .2] mean .2, std .216025.
    # Row 1: z = .260980, −.706607, 1.388088; sums from the right 1.388088, .681481, .942461; plus .865875.
    rewards = [[0.2, 0.0, 0.5], [0.4, 0.1, 0.0], [0.0, 0.3, 0.1], [0.0, 0.0, 0.2]]
    batch = rollouts([[1, 1, 1]] * 4, OUTCOME, turn_rewards=rewards)
    expected = torch.tensor(
        [
            [1.808336, 1.547356, 2.253963],
            [-0.486366, -1.791267, -1.791267],
            [-0.698298, 0.084643, -1.328571],
            [-0.623672, 0.159268, 0.865875],
        ]
    )
    advantages = MTGRPO(form="k-turn")(batch).advantages[:, [2, 5, 8]]
    torch.testing.assert_close(advantages, expected, atol=2e-6, rtol=0)


def test_a_turn_that_only_one_sibling_has_is_compared_with_nothing() -> None:
    batch = rollouts([[1, 1], [1]], rewards=[0, 0], turn_rewards=[[0.5, 9.0], [0.5]])
    assert not MTGRPO(form="k-turn")(batch).advantages.any()


@MANY
@given(batches(branches=True), st.sampled_from(TWO_TURN))
def test_the_two_turn_form_equals_its_loop(batch: RolloutBatch, assigner: MTGRPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, two_turn_slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(), st.sampled_from(K_TURN))
def test_the_k_turn_form_equals_its_loop(batch: RolloutBatch, assigner: MTGRPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, k_turn_slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), st.sampled_from(K_TURN))
def test_a_turn_copied_from_a_parent_is_measured_but_counted_once(batch: RolloutBatch, assigner: MTGRPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, k_turn_slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), st.sampled_from(TWO_TURN + K_TURN), st.sampled_from([0.0, 0.25]))
def test_equal_turn_rewards_leave_grpo(batch: RolloutBatch, assigner: MTGRPO, reward: float) -> None:
    bare = replace(batch, turn_rewards=torch.full_like(batch.turn_rewards, reward), turn_penalties=None)
    grpo = GRPO(ddof=assigner.ddof, eps=assigner.eps)
    torch.testing.assert_close(assigner(bare).advantages, grpo(bare).advantages, rtol=0, atol=1e-9)


@MANY
@given(batches(), st.sampled_from(TWO_TURN + K_TURN))
def test_a_row_without_any_reward_earns_nothing_and_is_as_if_it_were_not_there(
    batch: RolloutBatch, assigner: MTGRPO
) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    batch.turn_rewards[0] = math.nan
    advantages = assigner(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], assigner(others).advantages, rtol=0, atol=1e-9)


def test_a_row_without_an_outcome_still_earns_its_turn_reward() -> None:
    # Turn rewards ±.5 around .5, sample std .707107; the one known outcome has nothing to be compared with.
    batch = rollouts([[1, 1], [1, 1]], rewards=[math.nan, 1.0], turn_rewards=[[1.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([[0.5**0.5, 0.0], [-(0.5**0.5), 0.0]])
    torch.testing.assert_close(MTGRPO(eps=0.0)(batch).advantages[:, [2, 5]], expected)


@pytest.mark.parametrize("options", [{"gamma": 1.5, "form": "k-turn"}, {"gamma": -0.1}, {"ddof": 2}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        MTGRPO(**options)  # type: ignore[arg-type]


def test_a_discount_that_the_two_turn_form_would_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="k-turn only"):
        MTGRPO(gamma=0.9)
