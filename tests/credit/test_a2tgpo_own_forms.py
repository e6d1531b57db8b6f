"""A²TGPO's two forms of our own, against a pencil and against a slow loop; and what they are an answer to."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

LEFT = A2TGPO(normalize="leave-one-out", rescale=False)
REACHED = A2TGPO(normalize="reached", rescale=False)
BOTH = pytest.mark.parametrize("assigner", [LEFT, REACHED], ids=["leave-one-out", "reached"])
GAIN = "information gain"


def batch(gains: list[list[float]], groups: list[int] | None = None) -> RolloutBatch:
    """One token per turn, an answer behind the last gain."""
    scores = [list(itertools.accumulate(row, initial=-3.0)) for row in gains]
    made = rollouts([[1] * len(row) for row in scores], [0.0] * len(gains), groups, answer_logprobs=scores)
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def undivided(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """In place of a reduction over ranks: one square of 1, so that differences are divided by 1."""
    return torch.ones_like(tensor)


@pytest.mark.parametrize(
    ("assigner", "sigma", "expected"),
    [
        # Turn 1: 1.6, .3, 1.7, −.3 ahead: 1.6 − 1.7/3, .3 − 3/3, 1.7 − 1.6/3, −.3 − 3.6/3.
        # Turn 2: .8, −.1, 1.6 ahead: .8 − 1.5/2, −.1 − 2.4/2, 1.6 − .7/2. Turn 3: nobody else has one.
        # Squares of the seven differences add up to 8.423889: σ = √(8.423889/7).
        (LEFT, 1.097002, [[1.033333, 0.05, 0, 0], [-0.7, -1.3, 0, 0], [1.166667, 1.25, 0, 0], [-1.5, 0, 0, 0]]),
        # Turn 2: row 4 answers, 0 ahead: .8 − 1.5/3, −.1 − 2.4/3, 1.6 − .7/3, 0 − 2.3/3. Turn 3: rows 1 and 2 answer:
        # 0 − .6/2 for both, .6 − 0. Turn 4: nobody else came as far. Eleven squares add up to 9.064444.
        (
            REACHED,
            0.907767,
            [[1.033333, 0.3, -0.3, 0], [-0.7, -0.9, -0.3, 0], [1.166667, 1.366667, 0.6, 0], [-1.5, -0.766667, 0, 0]],
        ),
    ],
    ids=["leave-one-out", "reached"],
)
def test_gains_ahead_are_compared_with_the_others(assigner: A2TGPO, sigma: float, expected: list[list[float]]) -> None:
    made = batch([[0.8, 0.8], [0.4, -0.1], [0.1, 1.0, 0.6], [-0.3]])
    found = assigner(made, all_reduce=undivided).components[GAIN]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=0, atol=2e-6)  # six digits are written
    torch.testing.assert_close(assigner(made).components[GAIN] * sigma, found, rtol=0, atol=2e-6)


@BOTH
def test_one_number_divides_the_differences_of_all_prompts(assigner: A2TGPO) -> None:
    # Gains of 0 and 1, of 0 and 7: differences ±1, ±7 on the first turn; every answer has 0 ahead, like its sibling's.
    credit = assigner(batch([[1.0], [0.0], [7.0], [0.0]], [0, 0, 1, 1]))
    sigma = 5 if assigner is LEFT else 5 / math.sqrt(2)  # √(100/4), √(100/8)
    expected = [1 / sigma, -1 / sigma, 7 / sigma, -7 / sigma]
    assert credit.components[GAIN][:, 0].tolist() == pytest.approx(expected)


@BOTH
def test_a_floor_keeps_rounding_noise_small(assigner: A2TGPO) -> None:
    assert assigner(batch([[1e-4], [0.0]])).components[GAIN][:, 0].tolist() == pytest.approx([0.1, -0.1])


@BOTH
def test_the_clip_range_is_that_of_the_turn_group_form(assigner: A2TGPO) -> None:
    made = batch([[0.8, 0.8], [0.4, -0.1], [0.1, 1.0, 0.6], [-0.3]])
    torch.testing.assert_close(assigner(made).clip_scale, A2TGPO()(made).clip_scale, rtol=0, atol=0)


@BOTH
@pytest.mark.parametrize("gains", [[[0.5, 0.3]], [[], []], [[0.2], [0.2]]])
def test_nothing_to_compare_earns_nothing(assigner: A2TGPO, gains: list[list[float]]) -> None:
    credited, _ = apply_credit(assigner, batch(gains))
    assert not credited.advantages.any()  # type: ignore[union-attr]


@BOTH
def test_a_row_without_ground_truth_is_nobodys_sibling(assigner: A2TGPO) -> None:
    scores = [[-2, -1.5], [-2, -1.9], [math.nan, math.nan]]
    credit = assigner(rollouts([[1] * 2] * 3, [0] * 3, answer_logprobs=scores), all_reduce=undivided)
    assert credit.metrics["missing_gains"] == 1
    torch.testing.assert_close(credit.components[GAIN], torch.tensor([[0.4, 0], [-0.4, 0], [0, 0]]))


@BOTH
def test_a_turn_whose_gain_is_missing_is_left_out_and_counted(assigner: A2TGPO) -> None:
    scores = [[-2, -1.5], [-2, -1.9], [-2, math.nan]]
    credit = assigner(rollouts([[1] * 2] * 3, [0] * 3, answer_logprobs=scores), all_reduce=undivided)
    assert credit.metrics["missing_gains"] == 1
    assert credit.components[GAIN][:, 0].tolist() == pytest.approx([0.4, -0.4, 0], abs=1e-5)  # float32 scores


@BOTH
def test_a_copied_turn_is_compared_with_the_siblings_that_took_another(assigner: A2TGPO) -> None:
    # Row 3 has the first turn of row 1 and another second one. Ahead .6, .1, 1.2: .6 − .1, .1 − .6, 1.2 − .1.
    made = rollouts(
        [[1] * 3, [1] * 2, [1] * 3],
        [0.0] * 3,
        parents=[-1, -1, 0],
        inherited=[0, 0, 5],
        answer_logprobs=[[-3, -2.6, -2.4], [-3, -2.9], [-3, -2.6, -1.8]],
    )
    found = assigner(made, all_reduce=undivided).components[GAIN]
    assert found[:, 0].tolist() == pytest.approx([0.5, -0.5, 1.1], abs=1e-5)  # float32 scores


def test_the_hidden_bonus_of_having_a_turn() -> None:
    # −μ/σ of each turn's gains. Prompt 1: −.25/.403113 = −.620174 on turn 1, −.566667/.478423 = −1.184446 on turn 2.
    # Prompt 2: turn 1 has no spread; −.75/.75 = −1 on turn 2. Prompts count the same; turn 3 has nobody to compare.
    gains = [[0.8, 0.8], [0.4, -0.1], [0.1, 1.0, 0.6], [-0.3], [0.5], [0.5, 0.0], [0.5, 1.5]]
    metrics = A2TGPO()(batch(gains, [0] * 4 + [1] * 3)).metrics
    bonus = {name: float(value) for name, value in metrics.items() if "bonus" in name}
    assert bonus == pytest.approx({"hidden_bonus_turn_1": -0.620174, "hidden_bonus_turn_2": -1.092223}, abs=2e-6)


def test_rounding_noise_makes_no_hidden_bonus() -> None:
    # Three gains of .7 that differ in the last bit of a float32.
    made = rollouts([[1, 1]] * 3, [0.0] * 3, answer_logprobs=[[-0.8, -0.1], [-1.7, -1.0], [-2.9, -2.2]])
    assert list(A2TGPO()(made).metrics) == ["missing_gains"]


def loop(made: RolloutBatch, assigner: A2TGPO) -> torch.Tensor:
    """Gains ahead less the mean of the others', over the root mean square of all such differences."""
    scores, ends, inherited = made.answer_logprobs.tolist(), made.turn_ends.tolist(), made.inherited.tolist()  # type: ignore[union-attr]
    groups, parents, ids = made.group_ids.tolist(), made.parent_ids.tolist(), made.trajectory_ids.tolist()  # type: ignore[union-attr]
    value = math.exp if assigner.gain == "prob" else float
    first = 0 if assigner.first_turn_gain else 1
    ahead: dict[tuple[int, int], float] = {}
    for i, turns in enumerate(made.turn_mask.sum(1).tolist()):
        later = 0.0
        for t in reversed(range(first, turns)):
            later *= assigner.gamma
            if ends[i][t + 1] >= 0:
                later += value(scores[i][t + 1]) - value(scores[i][t])
            if ends[i][t + 1] >= 0 or assigner.normalize == "reached":
                ahead[i, t] = later

    def author(i: int, t: int) -> int:
        while 0 <= ends[i][t + 1] <= inherited[i]:
            i = ids.index(parents[i])
        return i

    less, squares = {}, []
    for i, t in ahead:
        turns_t = [j for j, k in ahead if k == t and groups[j] == groups[i] and author(j, t) == j]
        others = [ahead[j, t] for j in turns_t if j != author(i, t)]
        less[i, t] = ahead[i, t] - sum(others) / len(others) if others else 0.0
        if others and author(i, t) == i:
            squares.append(less[i, t] ** 2)
    floor = assigner.floor if assigner.gain == "log" else 0.0
    sigma = max(math.sqrt(sum(squares) / max(len(squares), 1)), floor) + assigner.eps
    result = torch.zeros(made.turn_mask.shape, dtype=torch.float64)
    for (i, t), difference in less.items():
        result[i, t] = assigner.alpha * difference / sigma if sigma else 0.0
        if t == first == 1:  # the first turn goes with the second
            result[i, 0] = result[i, 1]
    return result


OPTIONS = [
    LEFT,
    A2TGPO(normalize="leave-one-out", rescale=False, gamma=0.9, alpha=0.5, floor=0.7, eps=0.1),
    A2TGPO(normalize="leave-one-out", rescale=False, first_turn_gain=False, gain="prob"),
    REACHED,
    A2TGPO(normalize="reached", rescale=False, gamma=0.9, alpha=0.5, floor=0.7, eps=0.1, gain="prob"),
]


@MANY
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_credit_is_that_of_a_slow_loop(made: RolloutBatch, assigner: A2TGPO) -> None:
    torch.testing.assert_close(assigner(made).components[GAIN], loop(made, assigner), rtol=0, atol=1e-9)
