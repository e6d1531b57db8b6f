"""AEPO's budget split and its penalty on forks in a row, against a pencil."""

from __future__ import annotations

import math

import pytest
from frontiers import V, forked, trajectory

from lightning_agentrl.branching.base import Frontier
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.types import BranchPoint, Trajectory

# --- budget split ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "rest", "roots"),
    [
        (0.0, [1.0, 3.0], 5),  # gap −2: 16 σ(−1) = 4.30
        (0.5, [1.0], 8),  # −.5: 16 σ(−.25) = 7.005
        (1.0, [0.5, 1.5], 9),  # 0: 16 σ(0) = 8
        (1.0, [0.5], 9),  # .5: 16 σ(.25) = 8.995
        (2.0, [0.0, 0.0, 0.0], 12),  # 2: 16 σ(1) = 11.70
        (1.0, [], 9),  # no tools, no gap
        (99.0, [0.0], 16),  # not 17
        (0.0, [99.0], 1),
    ],
)
def test_the_first_roots_entropies_split_the_budget(first: float, rest: list[float], roots: int) -> None:
    pilot = trajectory(0, *([h * math.log(V)] for h in [first, *rest]))
    assert EntropyBranching(split=0.5).roots(pilot, 16, V) == roots


def test_only_a_budget_split_needs_a_pilot() -> None:
    assert [EntropyBranching(split=split).pilot for split in (None, 0.0, 0.5)] == [False, True, True]


# --- forks in a row --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("in_a_row", "expected"), [(0, 0.5), (2, 0.444444), (4, 0.375), (8, 0.166667), (10, 0.0)])
def test_the_released_penalty(in_a_row: int, expected: float) -> None:
    # P = 1 − .5/(1 − .05 c): 1 − .5/.9, 1 − .5/.8, 1 − .5/.6, 1 − .5/.5.
    released = EntropyBranching(penalty=0.05, penalty_form="released")
    assert released.probability(0.0, in_a_row) == pytest.approx(expected, abs=5e-7)


def test_the_released_penalty_raises_the_bar_and_leaves_the_rise_alone() -> None:
    # 1 − (.5/.9 − .2 · .5) = .544444; at 20 forks in a row and more the factor is 0, whatever the rise.
    released = EntropyBranching(penalty=0.05, penalty_form="released")
    assert released.probability(0.5, 2) == pytest.approx(0.544444, abs=5e-7)
    assert [released.probability(1.0, in_a_row) for in_a_row in (20, 30)] == [0.0, 0.0]


@pytest.mark.parametrize(("in_a_row", "expected"), [(0, 0.6), (1, 0.48), (2, 0.36), (5, 0.0), (6, 0.0)])
def test_the_papers_penalty(in_a_row: int, expected: float) -> None:
    # (.5 + .2 · .5)(1 − .2 l), and not below 0.
    assert EntropyBranching(penalty=0.2).probability(0.5, in_a_row) == pytest.approx(expected)


def four_turns(*ids: int) -> list[Trajectory]:
    """Turns of one token each, which start at columns 2, 5, 8 and 11."""
    return [trajectory(id, *[[1.0]] * 4) for id in ids]


PENALISED = EntropyBranching(penalty=0.2, order="ranked")
"""P = .5, .4, .3 behind 0, 1, 2 forks in a row."""


def test_forks_in_a_row_are_counted_along_a_lineage() -> None:
    # 2 left 1 at column 5, and 3 left 2 at column 8. Before column 11, 2 and 3 were forked twice in a row; 1 was forked
    # at column 5, but not at 8.
    first, second = BranchPoint(1, 5), BranchPoint(2, 8)
    frontier = Frontier(four_turns(1, 2, 3), 9, V, [[], [first], [second]], {2: first, 3: second})
    assert forked(PENALISED, frontier, draw=0.35) == [1]
    assert forked(PENALISED, frontier, draw=0.29) == [1, 2, 3]
    assert forked(PENALISED, frontier, draw=0.31) == [1]


def test_what_happens_to_an_ancestor_later_is_not_in_a_branchs_row() -> None:
    # 2 left 1 at column 5. Then 1 was forked at its own turn at column 8, and 2 was not at its.
    first, second = BranchPoint(1, 5), BranchPoint(1, 8)
    frontier = Frontier(four_turns(1, 2, 3), 9, V, [[], [first], [second]], {2: first, 3: second})
    assert forked(PENALISED, frontier, draw=0.35) == [2]
    assert forked(PENALISED, frontier, draw=0.29) == [1, 2, 3]


def test_a_gap_ends_the_row() -> None:
    first = BranchPoint(1, 5)
    frontier = Frontier(four_turns(1), 9, V, [[], [first], []], {})
    assert forked(PENALISED, frontier, draw=0.49) == [1]


def test_the_released_form_counts_rounds_of_the_prompt() -> None:
    released = EntropyBranching(penalty=0.2, penalty_form="released")
    # 1 − .5/.6 = .1667 behind two rounds with a fork, 1 − .5/.8 = .375 behind one, .5 behind none.
    one, two = [BranchPoint(1, 5)], [BranchPoint(2, 8)]
    for rounds, least_refused in ([[], one, two], 0.1667), ([one, [], two], 0.375), ([one, two, []], 0.5):
        frontier = Frontier(four_turns(1, 2), 9, V, rounds, {})
        assert forked(released, frontier, draw=least_refused - 0.001) == [1, 2]
        assert forked(released, frontier, draw=least_refused + 0.001) == []
