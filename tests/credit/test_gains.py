"""Information gains: differences of scores, once per process turn and counted once per distinct turn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from random_batches import MANY, batches

from lightning_agentrl.credit.gains import GainBase, information_gains
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

# Mean log-prob of the ground truth after 0, 1, … process turns of two prompts' rollouts.
A = [[-2, -1.2, -0.4], [-2, -1.6, -1.7], [-2, -1.9, -0.9, -0.3], [-2, -2.3]]
B = [[-3], [-3, -2.5], [-3, -2.5, -2.5], [-3, -2.5, -1]]


@pytest.mark.parametrize(
    ("base", "scores", "expected"),
    [
        ("log", A, [0.8, 0.8, 0, 0.4, -0.1, 0, 0.1, 1.0, 0.6, 0, -0.3, 0]),
        ("log", B, [0, 0.5, 0, 0.5, 0, 0, 0.5, 1.5, 0]),
        # exp(−1.2) − exp(−2) = .301194 − .135335 = .165859, and so on.
        (
            "prob",
            A,
            [0.165859, 0.369126, 0, 0.066561, -0.019213, 0, 0.014233, 0.257001, 0.334249, 0, -0.035076, 0],
        ),
        ("prob", B, [0, 0.032298, 0, 0.032298, 0, 0, 0.032298, 0.285794, 0]),
    ],
)
def test_gains_are_differences_of_scores(base: GainBase, scores: list[list[float]], expected: list[float]) -> None:
    made = rollouts([[1] * len(row) for row in scores], [0] * 4, answer_logprobs=scores)
    gains = information_gains(made, base)
    assert gains.values[made.turn_mask].tolist() == pytest.approx(expected, abs=2e-6)  # six printed digits


def test_a_probability_is_the_geometric_mean_of_the_answers_tokens() -> None:
    # Tokens −.2, −1.8, −1.0: their mean is −1, exp(−1) = .367879; their product would be exp(−3) = .049787.
    made = rollouts([[1, 1]], [0], answer_logprobs=[[0.0, (-0.2 - 1.8 - 1.0) / 3]])
    assert information_gains(made, "prob").values[0, 0].item() == pytest.approx(0.367879 - 1, abs=2e-6)


@settings(MANY, max_examples=50)
@given(batches(branches=True))
def test_gains_telescope(made: RolloutBatch) -> None:
    scores = made.answer_logprobs
    assert scores is not None
    last = scores.gather(1, made.process_mask.sum(1, keepdim=True))[:, 0]
    torch.testing.assert_close(information_gains(made, "log").values.sum(1), last - scores[:, 0])


def test_the_answer_turn_and_a_cut_one_have_no_gain() -> None:
    # The second turn of each row was not followed by an observation, whatever was scored behind it.
    made = rollouts([[1, 1], [1, 1]], [0, 0], truncated=[False, True])
    scored = replace(made, answer_logprobs=torch.tensor([[-2, -1.5, -1], [-2, -1, -0.5]]))
    gains = information_gains(scored, "log")
    assert gains.values.tolist() == [[0.5, 0], [1, 0]]
    assert gains.exists.tolist() == [[True, False]] * 2


def test_a_copied_turn_counts_once_and_a_turn_copied_in_part_counts_again() -> None:
    # Columns: prompt 0–1, turn 1 2–3, observation 4–5, turn 2 6–7. Row 2 left row 1 behind the observation, row 3
    # inside turn 1.
    made = rollouts(
        [[2, 2], [2, 2], [2, 2]],
        [0, 0, 0],
        parents=[-1, 0, 0],
        inherited=[0, 6, 3],
        answered=[False] * 3,
        answer_logprobs=[[-2, -1, -1], [-2, -1, -0.5], [-2, -1.5, -1]],
    )
    gains = information_gains(made, "log")
    assert gains.values.tolist() == [[1, 0], [1, 0.5], [0.5, 0.5]]
    assert gains.counted.tolist() == [[True, True], [False, True], [True, True]]


@pytest.mark.parametrize("base", ["log", "prob"])
def test_a_score_that_is_no_number_takes_both_its_gains_along(base: GainBase) -> None:
    made = rollouts([[1] * 4], [0], answer_logprobs=[[-2, math.nan, -1, -0.6]])
    gains = information_gains(made, base)
    assert gains.missing == 2
    assert gains.exists.tolist() == [[False, False, True, False]]
    assert gains.values.isfinite().all()


def test_no_gradient_flows_through_a_gain() -> None:
    made = rollouts([[1, 1]], [0], answer_logprobs=[[-2, -1]])
    scores = torch.zeros_like(made.turn_ends, dtype=torch.float32).requires_grad_()
    assert not information_gains(replace(made, answer_logprobs=scores), "prob").values.requires_grad
