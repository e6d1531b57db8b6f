"""A²TGPO against a pencil and against a slow loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

# Mean log-prob of the ground truth after 0, 1, … process turns, and exact match (−1: bad format). In A the third
# process turn has no sibling; in B all first gains are equal, the second of row 3 is exactly 0, so are all outcomes.
A = [[-2, -1.2, -0.4], [-2, -1.6, -1.7], [-2, -1.9, -0.9, -0.3], [-2, -2.3]]
B = [[-3], [-3, -2.5], [-3, -2.5, -2.5], [-3, -2.5, -1]]
EM_A, EM_B = [1, 0, 1, -1], [0, 0, 0, 0]


def batch(scores: list[list[float]], rewards: list[float]) -> RolloutBatch:
    """One token per turn; the last turn answers."""
    made = rollouts([[1] * len(row) for row in scores], rewards, answer_logprobs=scores)
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def per_turn(values: torch.Tensor | None, made: RolloutBatch) -> list[float]:
    assert values is not None
    return values[made.action_mask].tolist()


# Turn 1 of A: gains .8, .4, .1, −.3 around .25, σ = √.1625 = .403113: n̂ = 1.364382, .372104, −.372104, −1.364382.
# Turn 2: .8, −.1, 1.0 around .566667, σ = .478423. Outcomes 1, 0, 1, −1: mean .25, σ = .829156.
NORMED_A = [1.364382, 0.487713, 0, 0.372104, -1.393466, 0, -0.372104, 0.905753, 0, 0, -1.364382, 0]
SCALE_A = [1.177883, 1.071741, 1, 1.055180, 0.819313, 1, 0.944820, 1.127278, 1, 1, 0.822117, 1]
# B: only turn 2 differs, 0 against 1.5: n̂ = ∓1.
NORMED_B = [0, 0, 0, 0, -1, 0, 0, 1, 0]
SCALE_B = [1, 1, 1, 1, 0.861365, 1, 1, 1.138635, 1]
CREDIT_B = [0, 0, 0, -0.707107, -1, 0, 0.707107, 1, 0]


@pytest.mark.parametrize(
    ("assigner", "on_a", "on_b", "scale_a"),
    [
        # Row 1, turn 1: (1.364382 + .487713)/√2 + .904534 = 2.214163. Row 3 divides 0 by √1, .905753 by √2 and
        # −.372104 + .905753 by √3: a turn without siblings counts in n.
        (
            A2TGPO(),
            [
                *(2.214163, 1.392247, 0.904534, -1.023723, -1.694977, -0.301511),
                *(1.212636, 1.544998, 0.904534, 0.904534, -2.871939, -1.507557),
            ],
            CREDIT_B,
            SCALE_A,
        ),
        (
            A2TGPO(gain="prob"),
            [
                *(2.700048, 1.926797, 0.904534, -1.131589, -1.658949, -0.301511),
                *(0.798305, 1.141538, 0.904534, 0.904534, -2.688895, -1.507557),
            ],
            CREDIT_B,
            [1.192056, 1.141248, 1, 1.027453, 0.822794, 1, 0.923828, 1.049811, 1, 1, 0.840887, 1],
        ),
        # The release's constants; it also adds 1e-8 to the variance, which is below the sixth digit.
        (
            A2TGPO(alpha=0.3, eps=1e-6, floor=0.0),
            [
                *(1.297421, 1.050847, 0.904533, -0.518174, -0.719550, -0.301511),
                *(0.996963, 1.096672, 0.904533, 0.904533, -1.916868, -1.507555),
            ],
            [0, 0, 0, -0.212132, -0.3, 0, 0.212132, 0.3, 0],
            SCALE_A,
        ),
        # Its first turn shares the second's credit and clip range, the answer's where that is the second.
        (
            A2TGPO(alpha=0.3, eps=1e-6, floor=0.0, first_turn_gain=False),
            [
                *(1.050847, 1.050847, 0.904533, -0.719550, -0.719550, -0.301511),
                *(1.096672, 1.096672, 0.904533, 0.904533, -1.507555, -1.507555),
            ],
            [0, 0, 0, -0.3, -0.3, 0, 0.3, 0.3, 0],
            [1.071740, 1.071740, 1, 0.819313, 0.819313, 1, 1.127278, 1.127278, 1, 1, 1, 1],
        ),
    ],
    ids=["log", "prob", "released constants", "no first gain"],
)
def test_credit_of_two_prompts(assigner: A2TGPO, on_a: list[float], on_b: list[float], scale_a: list[float]) -> None:
    made = batch(A, EM_A)
    credit = assigner(made)
    assert per_turn(credit.advantages, made) == pytest.approx(on_a, abs=2e-6)  # six printed digits, here and below
    assert per_turn(credit.clip_scale, made) == pytest.approx(scale_a, abs=2e-6)
    made = batch(B, EM_B)
    assert per_turn(assigner(made).advantages, made) == pytest.approx(on_b, abs=2e-6)


@pytest.mark.parametrize(
    ("scores", "normed", "scale", "low", "high"),
    [
        (
            A,
            NORMED_A,
            SCALE_A,
            [0.996466, 0.996785, 0.997, 0.996834, 0.997542, 0.997, 0.997166, 0.996618, 0.997, 0.997, 0.997534, 0.997],
            [1.004712, 1.004287, 1.004, 1.004221, 1.003277, 1.004, 1.003779, 1.004509, 1.004, 1.004, 1.003288, 1.004],
        ),
        (
            B,
            NORMED_B,
            SCALE_B,
            [0.997, 0.997, 0.997, 0.997, 0.997416, 0.997, 0.997, 0.996584, 0.997],
            [1.004, 1.004, 1.004, 1.004, 1.003445, 1.004, 1.004, 1.004555, 1.004],
        ),
    ],
    ids=["A", "B"],
)
def test_the_clip_range_follows_the_turns_own_gain(
    scores: list[list[float]], normed: list[float], scale: list[float], low: list[float], high: list[float]
) -> None:
    # c = 1 + .3·(2·sigmoid(n̂) − 1): n̂ = 1.364382 gives 1.177883; bounds are 1 − .003·c and 1 + .004·c.
    made = batch(scores, EM_A)
    found = torch.tensor(per_turn(A2TGPO()(made).clip_scale, made), dtype=torch.float64)
    assert ((found - 1) / 0.6 + 0.5).logit().tolist() == pytest.approx(normed, abs=2e-6)
    assert found.tolist() == pytest.approx(scale, abs=2e-6)
    assert (1 - 3e-3 * found).tolist() == pytest.approx(low, abs=2e-6)
    assert (1 + 4e-3 * found).tolist() == pytest.approx(high, abs=2e-6)


def z(value: float, pool: list[float], assigner: A2TGPO, floor: float) -> float:
    if len(set(pool)) < 2:
        return 0.0
    mean = sum(pool) / len(pool)
    std = math.sqrt(sum((x - mean) ** 2 for x in pool) / (len(pool) - assigner.ddof))
    return (value - mean) / (max(std, floor) + assigner.eps)


Turn = tuple[int, int]


def gains_of(made: RolloutBatch, assigner: A2TGPO) -> tuple[dict[Turn, float], dict[Turn, bool]]:
    """Gain of each (row, process turn), and whether the row itself sampled the turn."""
    scores, ends = made.answer_logprobs.tolist(), made.turn_ends.tolist()  # type: ignore[union-attr]
    inherited = made.inherited.tolist()  # type: ignore[union-attr]
    gains, own = {}, {}
    for i in range(len(made)):
        for t in range(0 if assigner.first_turn_gain else 1, len(ends[i]) - 1):
            if ends[i][t + 1] >= 0:
                before, after = scores[i][t], scores[i][t + 1]
                gains[i, t] = after - before if assigner.gain == "log" else math.exp(after) - math.exp(before)
                own[i, t] = ends[i][t + 1] > inherited[i]
    return gains, own


def loop(made: RolloutBatch, assigner: A2TGPO) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 6–10, row by row and turn by turn."""
    groups, rewards, process = made.group_ids.tolist(), made.rewards.tolist(), made.process_mask.tolist()
    gains, own = gains_of(made, assigner)
    normed = {}
    for i, t in gains:
        alike = [(j, k) for j, k in gains if groups[j] == groups[i] and (k == t or assigner.normalize == "group")]
        normed[i, t] = z(gains[i, t], [gains[turn] for turn in alike if own[turn]], assigner, assigner.floor)
    advantages = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    scales = torch.ones_like(advantages)
    for i, turns in enumerate(made.turn_mask.sum(1).tolist()):
        outcome = z(
            rewards[i], [r for r, group in zip(rewards, groups, strict=True) if group == groups[i]], assigner, 0
        )
        for t in range(turns):
            source = 1 if t == 0 and process[i][0] and not assigner.first_turn_gain else t
            ahead = sum(
                assigner.gamma ** (k - source) * value for (j, k), value in normed.items() if j == i and k >= source
            )
            if assigner.rescale:
                ahead /= math.sqrt(max(sum(process[i][source:]), 1))
            tokens = made.turn_ids[i] == t
            advantages[i, tokens] = outcome + assigner.alpha * ahead
            scales[i, tokens] = 1 + assigner.beta * (2 / (1 + math.exp(-normed.get((i, source), 0.0))) - 1)
    return advantages, scales


OPTIONS = [
    A2TGPO(),
    A2TGPO(gain="prob", gamma=0.9, alpha=0.3, eps=1e-6, floor=0.0),
    A2TGPO(normalize="group", rescale=False, ddof=1, beta=0.9),
    A2TGPO(first_turn_gain=False, gamma=0.5),
    A2TGPO(first_turn_gain=False, normalize="group", floor=0.5),
]


@MANY
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_credit_is_that_of_a_slow_loop(made: RolloutBatch, assigner: A2TGPO) -> None:
    credit = assigner(made)
    advantages, scales = loop(made, assigner)
    torch.testing.assert_close(credit.clip_scale, scales, rtol=0, atol=1e-9)
    torch.testing.assert_close(credit.advantages, advantages, rtol=0, atol=1e-9)
