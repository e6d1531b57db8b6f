"""IGPO against a pencil, against a slow loop, and where it must reduce to something simpler."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

FEW = settings(MANY, max_examples=50)

# Mean log-prob of the ground truth after 0, 1, … process turns, and F1 (−2: bad format). In A the third process turn
# has no sibling; in B all first gains are equal, the second of row 3 is exactly 0, and so are all outcomes.
A = [[-2, -1.2, -0.4], [-2, -1.6, -1.7], [-2, -1.9, -0.9, -0.3], [-2, -2.3]]
B = [[-3], [-3, -2.5], [-3, -2.5, -2.5], [-3, -2.5, -1]]
F1_A, F1_B = [1, 0.4, 0.8, -2], [0, 0, 0, 0]


def batch(scores: list[list[float]], rewards: list[float]) -> RolloutBatch:
    """One token per turn; the last turn answers."""
    made = rollouts([[1] * len(row) for row in scores], rewards, answer_logprobs=scores)
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def per_turn(values: torch.Tensor, made: RolloutBatch) -> list[float]:
    return values[made.action_mask].tolist()


@pytest.mark.parametrize(
    ("assigner", "on_a", "on_b"),
    [
        # Gains of A: mean 3.3/8 = .4125, population σ = √(2.91/8 − .4125²) = .439988; F1: mean .05, σ = 1.203121.
        # Row 4: −.7125/.439988 = −1.619341 on its gain, −2.05/1.203121 = −1.703900 on its outcome; both on turn 1.
        (
            IGPO(),
            [
                *(2.551000, 1.670306, 0.789612),
                *(-0.902289, -0.873879, 0.290910),
                *(1.674529, 2.384766, 1.049520, 0.623378),
                *(-3.323241, -1.703900),
            ],
            [0, -0.204124, 0, -1.428866, -1.224742, 0, 1.632990, 1.837114, 0],
        ),
        (
            IGPO(gamma=0.9),
            [
                *(2.312905, 1.591345, 0.789612),
                *(-0.841082, -0.902970, 0.290910),
                *(1.291102, 2.223710, 0.987183, 0.623378),
                *(-3.152851, -1.703900),
            ],
            [0, -0.204124, 0, -1.306392, -1.224742, 0, 1.449278, 1.837114, 0],
        ),
        (
            IGPO(gain="prob", pool="joint"),  # the paper's first version
            [
                *(1.693195, 1.618027, 1.255284),
                *(0.154441, 0.219757, 0.406423),
                *(1.350495, 1.489843, 1.285730, 0.972331),
                *(-3.198131, -2.989022),
            ],
            [
                *(-0.487259, -0.604408, -0.487259, -1.091667, -0.974519, -0.487259),
                *(2.183334, 2.300482, -0.487259),
            ],
        ),
    ],
    ids=["v2", "v2, discounted", "v1"],
)
def test_credit_of_two_prompts(assigner: IGPO, on_a: list[float], on_b: list[float]) -> None:
    for scores, rewards, expected in ((A, F1_A, on_a), (B, F1_B, on_b)):
        made = batch(scores, rewards)
        assert per_turn(assigner(made).advantages, made) == pytest.approx(expected, abs=2e-6)  # six printed digits


def z(value: float, pool: list[float], assigner: IGPO, floor: float) -> float:
    if len(set(pool)) < 2:
        return 0.0
    mean = sum(pool) / len(pool)
    std = math.sqrt(sum((x - mean) ** 2 for x in pool) / (len(pool) - assigner.ddof))
    return (value - mean) / (max(std, floor) + assigner.eps) if assigner.normalize_std else value - mean


def loop(made: RolloutBatch, assigner: IGPO) -> torch.Tensor:
    """Eq. 3–6, row by row and turn by turn."""
    groups, rewards = made.group_ids.tolist(), made.rewards.tolist()
    scores, ends, inherited = made.answer_logprobs.tolist(), made.turn_ends.tolist(), made.inherited.tolist()  # type: ignore[union-attr]
    rows, turns = range(len(made)), [sum(row) for row in made.turn_mask.tolist()]
    gains: list[dict[int, float]] = [{} for _ in rows]
    own: dict[int, list[float]] = {group: [] for group in groups}
    for i in rows:
        for t in range(turns[i]):
            if ends[i][t + 1] < 0:
                continue
            before, after = scores[i][t], scores[i][t + 1]
            gains[i][t] = after - before if assigner.gain == "log" else math.exp(after) - math.exp(before)
            if ends[i][t + 1] > inherited[i]:
                own[groups[i]].append(gains[i][t])
    result = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    for i in rows:
        outcomes = [rewards[j] for j in rows if groups[j] == groups[i]]
        floor, pool = assigner.floor, own[groups[i]]
        if assigner.pool == "joint":
            pool = outcomes = pool + outcomes
        earned = z(rewards[i], outcomes, assigner, floor if assigner.pool == "joint" else 0.0)
        for t in reversed(range(turns[i])):
            if t + 1 < turns[i]:
                earned = assigner.gamma * earned
            if t in gains[i]:
                earned += z(gains[i][t], pool, assigner, floor)
            result[i, made.turn_ids[i] == t] = earned
    return result


OPTIONS = [
    IGPO(),
    IGPO(gamma=0.9, ddof=1, eps=0.0),
    IGPO(gain="prob", pool="joint"),
    IGPO(pool="joint", gamma=0.5, floor=1.0, ddof=1),
    IGPO(normalize_std=False, gamma=0.0),
    IGPO(floor=1.0, gain="prob"),
]


@MANY
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_credit_is_that_of_a_slow_loop(made: RolloutBatch, assigner: IGPO) -> None:
    torch.testing.assert_close(assigner(made).advantages, loop(made, assigner), rtol=0, atol=1e-9)


@FEW
@given(batches(branches=True))
def test_without_gains_it_is_grpo(made: RolloutBatch) -> None:
    flat = replace(made, answer_logprobs=torch.where(made.turn_ends >= 0, -0.7, math.nan).double())
    torch.testing.assert_close(IGPO()(flat).advantages, GRPO(ddof=0)(made).advantages)


@FEW
@given(batches(branches=True), st.sampled_from([IGPO(), IGPO(gamma=0.9)]))
def test_a_constant_per_prompt_changes_nothing(made: RolloutBatch, assigner: IGPO) -> None:
    shift = made.group_ids.double() * 0.25 + 1
    moved = replace(made, answer_logprobs=made.answer_logprobs - shift[:, None], rewards=made.rewards + shift)  # type: ignore[operator]
    torch.testing.assert_close(assigner(moved).advantages, assigner(made).advantages, rtol=0, atol=1e-9)


def test_without_division_gains_and_outcomes_are_only_centered() -> None:
    # Gains .5 and −.1 around .2, rewards 1 and 0 around .5: .3 + .5 on the first turn, .5 on the answer.
    made = batch([[-2, -1.5], [-2, -2.1]], [1, 0])
    expected = [0.8, 0.5, -0.8, -0.5]
    assert per_turn(IGPO(normalize_std=False)(made).advantages, made) == pytest.approx(expected)


def test_a_floor_keeps_small_differences_small() -> None:
    # Gains ±.001 around 0 with σ = .001: ±1 each, or ±.001/.1 = ±.01 with the floor; the outcome has none.
    made = batch([[-2, -1.999], [-2, -2.001]], [0.01, 0])
    assert per_turn(IGPO(eps=0.0)(made).advantages, made) == pytest.approx([2, 1, -2, -1])
    assert per_turn(IGPO(eps=0.0, floor=0.1)(made).advantages, made) == pytest.approx([1.01, 1, -1.01, -1])


def test_the_outcome_is_discounted_once_per_turn_that_lies_before_it() -> None:
    made = batch([[-2, -2, -2], [-2]], [1, 0])
    assert per_turn(IGPO(eps=0.0, gamma=0.5)(made).advantages, made) == pytest.approx([0.25, 0.5, 1, -1])


def test_a_gain_without_a_finite_score_is_left_out_and_counted() -> None:
    # Row 1 has no score after its first turn: two gains are gone, and the pool is .4, .2 around .3.
    scores = [[-2, math.nan, -1, -0.6], [-2, -1.8]]
    made = rollouts([[1] * 4, [1] * 2], [0, 0], answer_logprobs=scores)
    credit = IGPO(eps=0.0)(made)
    assert credit.metrics["missing_gains"] == 2
    assert per_turn(credit.advantages, made) == pytest.approx([1, 1, 1, 0, -1, 0], abs=1e-5)  # float32 scores


@pytest.mark.parametrize("pool", ["separate", "joint"])
@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_number_leaves_its_siblings_credit_alone(pool: str, reward: float) -> None:
    made = batch([[-2, -1.5], [-2, -2.1], [-2]], [1, 0, reward])
    alone = batch([[-2, -1.5], [-2, -2.1]], [1, 0])
    assigner = IGPO(pool=pool)  # type: ignore[arg-type]
    expected = [*per_turn(assigner(alone).advantages, alone), 0]
    assert per_turn(assigner(made).advantages, made) == pytest.approx(expected)


def test_a_cut_turn_and_an_empty_one_keep_their_gains() -> None:
    # Gains .5 and .5 (the second turn was followed by an observation, then cut) against −.5 of a turn without tokens.
    made = rollouts(
        [[1, 1], [0, 1]],
        [0, 0],
        answered=[False, True],
        truncated=[True, False],
        answer_logprobs=[[-2, -1.5, -1], [-2, -2.5]],
    )
    # μ = 1/6, σ = √(2/9) = .471405: z = .707107 and −1.414214.
    assert per_turn(IGPO(eps=0.0)(made).advantages, made) == pytest.approx([1.414214, 0.707107, 0], abs=2e-6)


def test_a_lone_rollout_without_process_turns_earns_nothing() -> None:
    credited, numbers = apply_credit(IGPO(), batch([[-2]], [5]))
    assert not credited.advantages.any()  # type: ignore[union-attr]
    assert numbers["credit/missing_gains"] == 0


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"gamma": -0.1}, {"ddof": 2}, {"eps": -1.0}, {"floor": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        IGPO(**options)  # type: ignore[arg-type]
