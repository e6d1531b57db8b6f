"""GiGPO against a pencil and the release's numbers, and against the loops of its equations."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

OPTIONS = st.sampled_from(
    [
        GiGPO(),
        GiGPO(statistics="step"),
        GiGPO(normalize_std=False),
        GiGPO(normalize_std=False, statistics="step", gamma=1.0),
        GiGPO(step_weight=0.3, gamma=0.5, eps=1e-3),
        GiGPO(step_weight=-1.0, gamma=0.0, statistics="step", eps=0.0),
    ]
)


def z(value: float, sample: list[float], assigner: GiGPO) -> float:
    """(value − mean) / (std + eps), or without the division; 0 where the sample does not vary."""
    if len(set(sample)) < 2:
        return 0.0
    mean = sum(sample) / len(sample)
    std = math.sqrt(sum((x - mean) ** 2 for x in sample) / (len(sample) - 1))
    return (value - mean) / (std + assigner.eps if assigner.normalize_std else 1.0)


def slowly(assigner: GiGPO, batch: RolloutBatch) -> Tensor:
    """E and D by their recursions, then each turn against its group and against the turns of its state."""
    groups, states, ends = batch.group_ids.tolist(), batch.state_keys.tolist(), batch.turn_ends.tolist()
    episodes: list[float] = []
    steps: dict[tuple[int, int], float] = {}  # E minus the turn's penalty
    returns: dict[tuple[int, int], float] = {}  # D minus the turn's penalty
    for row, exists in enumerate(batch.turn_mask.tolist()):
        rewards = batch.turn_rewards[row, : sum(exists)].tolist()
        rewards[-1] += batch.rewards[row].item()
        episodes.append(sum(rewards))
        running = 0.0
        for turn in reversed(range(len(rewards))):
            running = rewards[turn] + assigner.gamma * running
            penalty = batch.turn_penalties[row, turn].item()
            steps[row, turn] = episodes[row] - penalty
            returns[row, turn] = running - penalty
    own = [(row, turn) for row, turn in steps if not 0 <= ends[row][turn + 1] <= batch.inherited[row]]
    credit = {}
    for row, turn in steps:
        siblings = [other for other in own if groups[other[0]] == groups[row]]
        if assigner.statistics == "step":
            sample = [steps[other] for other in siblings]
        else:
            sample = [episode for episode, group in zip(episodes, groups, strict=True) if group == groups[row]]
        anchored = [returns[i, t] for i, t in siblings if states[i][t] == states[row][turn]]
        episode, step = z(steps[row, turn], sample, assigner), z(returns[row, turn], anchored, assigner)
        credit[row, turn] = episode + assigner.step_weight * step
    rows = [[credit[row, t] if t >= 0 else 0.0 for t in turns] for row, turns in enumerate(batch.turn_ids.tolist())]
    return torch.tensor(rows, dtype=torch.float64)


def three_siblings() -> RolloutBatch:
    """States s0 s1 s2, reward 10; s0 s1, reward 0; s0 s0, reward 0 and an invalid last action."""
    return rollouts(
        [[2, 1, 1], [1, 3], [1, 2]],
        rewards=[10, 0, 0],
        turn_penalties=[[0, 0, 0], [0, 0], [0, 0.1]],
        state_keys=[[0, 1, 2], [0, 1], [0, 0]],
    )


# D = [.95²·10, .95·10, 10 | 0, 0 | 0, 0 − .1]; E = [10, 10, 10 | 0, 0 | 0, −.1]. The numbers that follow are those of
# the released code run on these rows. Two of them by pencil: over trajectories mean 10/3, sample std 5.773503,
# (10 − 10/3)/5.773503 = 1.154700; state s1 holds 9.5 and 0, mean 4.75, std 6.717514, ±4.75/6.717514 = ±.707107.
EPISODE = {
    ("trajectory", True): [1.154700, 1.154700, 1.154700, -0.577350, -0.577350, -0.577350, -0.594671],
    ("step", True): [1.069022, 1.069022, 1.069022, -0.797101, -0.797101, -0.797101, -0.815762],
    ("trajectory", False): [6.666667, 6.666667, 6.666667, -3.333333, -3.333333, -3.333333, -3.433333],
    ("step", False): [5.728571, 5.728571, 5.728571, -4.271429, -4.271429, -4.271429, -4.371429],
}
STEP = {
    True: [1.499918, 0.707107, 0.0, -0.492614, -0.707107, -0.492614, -0.514691],
    False: [6.793750, 4.750000, 0.0, -2.231250, -4.750000, -2.231250, -2.331250],
}
SUM = {
    ("trajectory", True): [2.654619, 1.861807, 1.154700, -1.069964, -1.284457, -1.069964, -1.109362],
    ("step", True): [2.568940, 1.776128, 1.069022, -1.289714, -1.504207, -1.289714, -1.330453],
    ("trajectory", False): [13.460417, 11.416667, 6.666667, -5.564583, -8.083333, -5.564583, -5.764583],
    ("step", False): [12.522321, 10.478571, 5.728571, -6.502679, -9.021429, -6.502679, -6.702679],
}
VARIANTS = pytest.mark.parametrize(("statistics", "std"), list(EPISODE))


@VARIANTS
def test_the_episode_part_of_three_siblings(statistics: str, std: bool) -> None:
    batch = three_siblings()
    part = GiGPO(statistics=statistics, normalize_std=std)(batch).components["episode"][batch.turn_mask]
    # Printed to six digits, here and below.
    torch.testing.assert_close(part, torch.tensor(EPISODE[statistics, std]), atol=2e-6, rtol=0)


@pytest.mark.parametrize("std", [True, False])
def test_the_step_part_of_three_siblings(std: bool) -> None:
    batch = three_siblings()
    part = GiGPO(normalize_std=std)(batch).components["step"][batch.turn_mask]
    torch.testing.assert_close(part, torch.tensor(STEP[std]), atol=2e-6, rtol=0)


@VARIANTS
def test_the_tokens_of_a_turn_earn_both_parts(statistics: str, std: bool) -> None:
    batch = three_siblings()
    advantages = GiGPO(statistics=statistics, normalize_std=std)(batch).advantages[batch.action_mask]
    tokens = [2, 1, 1, 1, 3, 1, 2]  # of each turn
    expected = torch.tensor(SUM[statistics, std]).repeat_interleave(torch.tensor(tokens))
    torch.testing.assert_close(advantages, expected, atol=2e-6, rtol=0)


@MANY
@given(batches(), OPTIONS)
def test_gigpo_equals_the_loops_of_its_equations(batch: RolloutBatch, assigner: GiGPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), OPTIONS)
def test_a_turn_copied_from_a_parent_is_measured_but_counted_once(batch: RolloutBatch, assigner: GiGPO) -> None:
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(), OPTIONS)
def test_states_that_never_recur_leave_the_episode_part_alone(batch: RolloutBatch, assigner: GiGPO) -> None:
    distinct = replace(batch, state_keys=torch.arange(batch.turn_mask.numel()).view_as(batch.state_keys))
    assert torch.equal(assigner(distinct).advantages, replace(assigner, step_weight=0.0)(batch).advantages)


@MANY
@given(batches())
def test_without_steps_turn_rewards_and_penalties_it_is_grpo(batch: RolloutBatch) -> None:
    bare = replace(batch, turn_rewards=torch.zeros_like(batch.turn_rewards), turn_penalties=None)
    torch.testing.assert_close(
        GiGPO(step_weight=0.0)(bare).advantages, GRPO(eps=1e-6)(bare).advantages, rtol=0, atol=1e-9
    )


@MANY
@given(batches(), OPTIONS)
def test_a_row_without_a_reward_earns_nothing_and_is_as_if_it_were_not_there(
    batch: RolloutBatch, assigner: GiGPO
) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    advantages = assigner(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], assigner(others).advantages, rtol=0, atol=1e-9)


def test_the_same_state_under_another_prompt_is_another_state() -> None:
    batch = rollouts([[1], [1], [1], [1]], [1, 0, 5, 3], groups=[0, 0, 1, 1], state_keys=[[7], [7], [7], [7]])
    # Per prompt ±.5 and ±1, once as episode and once as step.
    assert GiGPO(normalize_std=False)(batch).advantages[:, 2].tolist() == [1, -1, 2, -2]


def test_the_share_of_anchored_turns_is_told() -> None:
    # s0 four times, s1 twice, s2 once: six of seven turns share their state.
    torch.testing.assert_close(GiGPO()(three_siblings()).metrics["anchored_share"], torch.tensor(6 / 7))


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"gamma": -0.1}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        GiGPO(**options)  # type: ignore[arg-type]
