"""Forks after tool results (ARPO), against a pencil."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from frontiers import Draws, V, forked, trajectory

from lightning_agentrl.branching.base import Frontier
from lightning_agentrl.branching.entropy import EntropyBranching, starts
from lightning_agentrl.engines.vllm_backend import top_entropy
from lightning_agentrl.types import Segment, Task, Trajectory, Turn

# Largest probabilities of the first three tokens of a first turn, and of a turn behind a tool result.
FIRST = [[0.90, 0.05, 0.03, 0.01], [0.97, 0.01, 0.01, 0.005], [0.80, 0.10, 0.05, 0.02]]
BEHIND = [[0.40, 0.25, 0.15, 0.10], [0.55, 0.20, 0.10, 0.05], [0.70, 0.15, 0.05, 0.04]]
# −Σ p ln p of each row, without the rest of the distribution.
CUT_FIRST = [0.395860, 0.148140, 0.636800]
CUT_BEHIND = [1.227916, 1.030743, 0.812782]


def rise(first: Sequence[float], behind: Sequence[float], **options: Any) -> float:
    """ΔH of a trajectory of two turns."""
    certain = EntropyBranching(base=1.0, weight=0.0, **options)
    (point,) = certain.after_turn(Frontier([trajectory(0, first, behind)], 1, V), random.Random())
    return point.score


def estimates(rows: Sequence[Sequence[float]]) -> list[float]:
    """What an engine makes of its top k."""
    return [top_entropy([math.log(p) for p in row]) for row in rows]


def test_entropy_is_a_mean_over_the_first_tokens_in_units_of_ln_v() -> None:
    # The rest of row 1, q = .01, adds −q ln q = .046052 to .395860, and so on: .441911, .174632, .741997 have the mean
    # .452847, and .452847/11.929429 = .037960. Behind the result (1.458175 + 1.261002 + .981587)/3 = 1.233588: .103407.
    assert rise([0.0] * 3, estimates(FIRST)) == pytest.approx(0.037960, abs=5e-7)
    assert rise([0.0] * 3, estimates(BEHIND)) == pytest.approx(0.103407, abs=5e-7)


def test_a_rise_of_the_entropy_makes_a_fork_likelier() -> None:
    # ΔH = .103407 − .037960 = .065447, and .5 + .2 · .065447 = .513089.
    found = rise(estimates(FIRST), estimates(BEHIND))
    assert found == pytest.approx(0.065447, abs=1e-6)
    assert EntropyBranching().probability(found) == pytest.approx(0.513089, abs=5e-7)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        # Released: Σ/ln V, so three tokens make the weight .6. (3.071441 − 1.180800)/11.929429 = .158485.
        (0.6, 0.531697),
        # Paper: Σ/V, so w = .2 · 3 ln V/V. 1.890641/151665 = 1.2466e-5.
        (0.2 * 3 * math.log(V) / V, 0.500002493),
    ],
)
def test_other_scales_are_other_weights(weight: float, expected: float) -> None:
    found = EntropyBranching(weight=weight).probability(rise(CUT_FIRST, CUT_BEHIND))
    assert found == pytest.approx(expected, abs=5e-7 if weight == 0.6 else 5e-10)  # the digits printed


@pytest.mark.parametrize(("draw", "forks"), [(0.40, True), (0.52, True), (0.53, True), (0.56, False)])
def test_a_fork_is_drawn_with_its_probability(draw: float, forks: bool) -> None:
    # P = .531697, as above.
    frontier = Frontier([trajectory(0, CUT_FIRST, CUT_BEHIND)], 1, V)
    assert bool(forked(EntropyBranching(weight=0.6), frontier, draw)) == forks


def test_a_threshold_equal_to_the_base_forks_wherever_the_entropy_rose() -> None:
    paper = EntropyBranching(rule="threshold")
    turns = {1: [1.0, 1.0], 2: [1.0, 1.001], 3: [1.0, 0.999]}
    frontier = Frontier([trajectory(id, [first], [behind]) for id, (first, behind) in turns.items()], 9, V)
    assert forked(paper, frontier, draw=0.0) == forked(paper, frontier, draw=0.999) == [2]


def test_a_probability_stays_one() -> None:
    assert EntropyBranching(weight=9.0).probability(1.0) == 1.0
    assert EntropyBranching(weight=9.0).probability(-1.0) == 0.0
    assert EntropyBranching(weight=9.0, penalty=0.1, penalty_form="released").probability(1.0, 1) == 1.0


def test_only_the_first_tokens_of_a_turn_count() -> None:
    assert rise([0.0], [1.0, 2.0, 50.0], tokens=2) == pytest.approx(1.5 / math.log(V))
    assert rise([0.0], [1.0] * 20 + [50.0]) == pytest.approx(1 / math.log(V))  # 20 by default


def test_the_newest_turn_is_compared_with_the_first() -> None:
    certain = EntropyBranching(base=1.0, weight=0.0)
    (point,) = certain.after_turn(Frontier([trajectory(0, [1.0], [9.0], [3.0])], 1, V), random.Random())
    assert point.score == pytest.approx((3 - 1) / math.log(V))


def test_a_fork_starts_right_behind_the_tool_result() -> None:
    # Prompt 0–1, turn 2–4, observation 5–6, turn 7, observation 8–9, turn 10–11.
    made = trajectory(4, [1.0] * 3, [1.0], [1.0] * 2)
    assert starts(made) == [2, 7, 10]
    (point,) = EntropyBranching(base=1.0).after_turn(Frontier([made], 1, V), Draws(0.0))
    assert (point.parent, point.column) == (4, 10)


def test_nothing_is_forked_before_the_first_tool_result() -> None:
    frontier = Frontier([trajectory(0, [1.0]), trajectory(1, [1.0], [1.0])], 9, V)
    assert forked(EntropyBranching(base=1.0), frontier, draw=0.0) == [1]


def test_forks_stop_at_the_budget_and_each_candidate_has_so_many_attempts() -> None:
    frontier = [trajectory(id, [1.0], [1.0]) for id in range(3)]
    ranked = EntropyBranching(base=1.0, attempts=2, order="ranked")
    assert forked(ranked, Frontier(frontier, 9, V), draw=0.0) == [0, 0, 1, 1, 2, 2]
    assert forked(ranked, Frontier(frontier, 3, V), draw=0.0) == [0, 0, 1]
    assert forked(ranked, Frontier(frontier, 0, V), draw=0.0) == []


def test_every_attempt_draws_anew() -> None:
    # P = .5: of 2 · 1000 attempts half succeed, ± 4 standard errors of √(2000/4) = 22.
    frontier = Frontier([trajectory(id, [1.0], [1.0]) for id in range(1000)], 9999, V)
    points = EntropyBranching(attempts=2).after_turn(frontier, random.Random(0))
    assert len(points) == pytest.approx(1000, abs=90)


def test_ranked_candidates_come_by_falling_rise() -> None:
    frontier = Frontier([trajectory(id, [1.0], [behind]) for id, behind in enumerate([1.0, 3.0, 2.0])], 2, V)
    assert forked(EntropyBranching(base=1.0, order="ranked"), frontier, draw=0.0) == [1, 2]


def test_in_random_order_everyone_has_a_turn() -> None:
    frontier = Frontier([trajectory(id, [1.0], [float(id)]) for id in range(3)], 1, V)
    first = [EntropyBranching(base=1.0).after_turn(frontier, random.Random(seed))[0].parent for seed in range(60)]
    assert min(first.count(id) for id in range(3)) >= 10  # 20 expected, standard deviation 3.7


def test_the_same_generator_gives_the_same_forks() -> None:
    frontier = Frontier([trajectory(id, [1.0], [1.0]) for id in range(8)], 4, V)
    found = [EntropyBranching().after_turn(frontier, random.Random(5)) for _ in range(2)]
    assert found[0] == found[1]


def test_a_budget_of_eight_is_spent_after_two_rounds_as_expected() -> None:
    """N = 8, M = 16, P = ½ and everybody calls tools: the first two rounds of forks."""
    # Round 1: E min(Bin(8, ½), 8) = 4. Round 2, with F₁ forks used up: E[F₁ + min(Bin(8 + F₁, ½), 8 − F₁)] = 7.648, and
    # nothing is left with probability .817. Standard errors over 2000 prompts: .032, less, and .009; four of them.
    rng, brancher, prompts = random.Random(0), EntropyBranching(), 2000
    first, both = [], []
    for _ in range(prompts):
        forks = len(brancher.after_turn(Frontier([trajectory(id, [1.0], [1.0]) for id in range(8)], 8, V), rng))
        live = [trajectory(id, [1.0], [1.0], [1.0]) for id in range(8 + forks)]
        first.append(forks)
        both.append(forks + len(brancher.after_turn(Frontier(live, 8 - forks, V), rng)))
    assert sum(first) / prompts == pytest.approx(4.0, abs=0.13)
    assert sum(both) / prompts == pytest.approx(7.648, abs=0.08)
    assert sum(spent == 8 for spent in both) / prompts == pytest.approx(0.817, abs=0.035)


# --- settings --------------------------------------------------------------------------------------------------------


def test_half_of_the_budget_rounded_up_starts_at_the_prompt() -> None:
    assert [EntropyBranching().initial(budget) for budget in (1, 2, 5, 16)] == [1, 1, 3, 8]
    assert EntropyBranching(initial_roots=6).initial(16) == 6


def test_the_engine_is_asked_for_what_entropies_are_made_of() -> None:
    assert EntropyBranching(top_k=7).top_logprobs == 7


def test_an_engine_without_entropies_is_named() -> None:
    turns = (
        Turn(Segment((7,), True, (-1.0,)), Segment((8,), False)),
        Turn(Segment((7,), True, (-1.0,))),
    )
    silent = Trajectory(0, 0, 0, Task("t", ()), Segment((1,), False), turns)
    with pytest.raises(ValueError, match=r"EntropyBranching needs entropies .* this engine gave none"):
        EntropyBranching().after_turn(Frontier([silent], 1, V), random.Random())


def test_more_roots_than_budget_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"starts 9 roots .*data\.group_size is 8"):
        EntropyBranching(initial_roots=9).initial(8)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"initial_roots": 0}, "at least 1"),
        ({"tokens": 0}, "at least 1"),
        ({"top_k": 0}, "at least 1"),
        ({"attempts": 0}, "at least 1"),
        ({"base": -0.1}, r"base in \[0, 1\]"),
        ({"base": 1.1}, r"base in \[0, 1\]"),
        ({"penalty": -0.1}, "penalty ≥ 0"),
        ({"split": 0.5, "initial_roots": 4}, "leave initial_roots out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EntropyBranching(**options)
