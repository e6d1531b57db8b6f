"""What A²TGPO's baselines do to the policy gradient, in expectation over every group that could be sampled.

At each of two turns a rollout goes on with probability P; a turn that goes on makes the good call with probability Q.
Gains of good and bad calls are fixed, so a rollout is its calls, and a group of n has 7ⁿ outcomes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

LEFT = A2TGPO(normalize="leave-one-out", rescale=False)
REACHED = A2TGPO(normalize="reached", rescale=False)
BOTH = pytest.mark.parametrize("assigner", [LEFT, REACHED], ids=["leave-one-out", "reached"])
P, Q = 0.6, 0.3
GAINS = ({"good": 0.7, "bad": 0.2}, {"good": 0.4, "bad": -0.1})
ROLLOUTS = [calls for turns in range(3) for calls in itertools.product(["good", "bad"], repeat=turns)]
Score = Callable[[tuple[str, ...], int], float]


def batch(gains: list[list[float]], groups: list[int] | None = None) -> RolloutBatch:
    """One token per turn, an answer behind the last gain."""
    scores = [list(itertools.accumulate(row, initial=-3.0)) for row in gains]
    made = rollouts([[1] * len(row) for row in scores], [0.0] * len(gains), groups, answer_logprobs=scores)
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def undivided(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """In place of a reduction over ranks: one square of 1, so that differences are divided by 1."""
    return torch.ones_like(tensor)


def probability(calls: tuple[str, ...]) -> float:
    made = math.prod(P * (Q if call == "good" else 1 - Q) for call in calls)
    return made if len(calls) == 2 else made * (1 - P)


def going_on(calls: tuple[str, ...], turn: int) -> float:
    """Derivative of the log-probability of going on, or not, by P."""
    if turn > len(calls) or turn == 2:
        return 0.0  # never decided
    return 1 / P if turn < len(calls) else -1 / (1 - P)


def calling_well(calls: tuple[str, ...], turn: int) -> float:
    """Derivative of the log-probability of the turn's call by Q."""
    if turn >= len(calls):
        return 0.0
    return 1 / Q if calls[turn] == "good" else -1 / (1 - Q)


def gradient(assigner: A2TGPO, size: int, turn: int, score: Score) -> tuple[float, float, float]:
    """Per rollout, E[credit · score], E[gains ahead · score], and the latter where there is somebody to compare."""
    groups = list(itertools.product(ROLLOUTS, repeat=size))
    rows = [calls for group in groups for calls in group]
    made = batch(
        [[GAINS[t][call] for t, call in enumerate(calls)] for calls in rows],
        [number for number in range(len(groups)) for _ in range(size)],
    )
    credit = assigner(made, all_reduce=undivided).components["information gain"].tolist()
    longer = turn if assigner.normalize == "reached" else turn + 1
    found = exact = compared = 0.0
    for row, calls in enumerate(rows):
        group = groups[row // size]
        weight = math.prod(map(probability, group)) * score(calls, turn) / size
        ahead = sum(GAINS[t][calls[t]] for t in range(turn, len(calls)))
        found += weight * credit[row][turn]
        exact += weight * ahead
        if any(len(other) >= longer for place, other in enumerate(group) if place != row % size):
            compared += weight * ahead
    return found, exact, compared


SIZES = pytest.mark.parametrize("size", [2, 3])
TURNS = pytest.mark.parametrize("turn", [0, 1])


@BOTH
@SIZES
@TURNS
def test_the_others_mean_adds_nothing_to_the_gradient_of_what_a_turn_does(
    assigner: A2TGPO, size: int, turn: int
) -> None:
    found, _, compared = gradient(assigner, size, turn, calling_well)
    assert compared > 0.05
    assert found == pytest.approx(compared)


@SIZES
@TURNS
def test_the_mean_of_all_who_reached_a_turn_adds_nothing_to_the_gradient_of_going_on(size: int, turn: int) -> None:
    found, _, compared = gradient(REACHED, size, turn, going_on)
    assert compared > 0.015
    assert found == pytest.approx(compared)


@pytest.mark.parametrize("score", [going_on, calling_well])
def test_on_the_turn_that_everyone_has_the_gradient_is_the_exact_one(score: Score) -> None:
    found, exact, _ = gradient(REACHED, 2, 0, score)
    assert found == pytest.approx(exact)


@pytest.mark.parametrize("assigner", [A2TGPO(rescale=False), LEFT], ids=["turn-group", "leave-one-out"])
@TURNS
def test_who_is_compared_with_those_who_went_on_as_well_does_not_learn_when_to_stop(
    assigner: A2TGPO, turn: int
) -> None:
    # Going on is worth 0 on average, whatever it gave, and so is answering.
    found, exact, _ = gradient(assigner, 2, turn, going_on)
    assert exact > 0.02
    assert found == pytest.approx(0)


def test_a_mean_with_oneself_in_it_takes_a_share_of_the_gradient() -> None:
    # With a floor of 1e6, undone by α, the turn-group form subtracts the mean and does not divide: half is left of it.
    found, _, compared = gradient(A2TGPO(rescale=False, floor=1e6, alpha=1e6), 2, 1, calling_well)
    assert compared > 0.05
    assert found == pytest.approx(compared / 2)
