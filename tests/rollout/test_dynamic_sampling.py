"""Dynamic sampling: which groups make up the batch, and when it stops asking for more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY

from lightning_agentrl.rollout.dynamic_sampling import DynamicSampling, Sampled, refill, spread
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.types import Reward, Segment, Task, Trajectory

NAN = math.nan
FLAT, MIXED = (1.0, 1.0), (0.0, 1.0)


def job(group: int) -> Job:
    return Job(Task(str(group), ()), group, 2)


class Script:
    """Rolls out what it is told to, and remembers how many prompts each round had."""

    def __init__(self, outcomes: Mapping[int, Sequence[float]], shaped: float = 0.0) -> None:
        self.outcomes = outcomes
        self.shaped = shaped
        self.rounds: list[int] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Trajectory]:
        self.rounds.append(len(jobs))
        return [
            Trajectory(
                id=100 * each.group + sample,
                group=each.group,
                sample=sample,
                task=each.task,
                prompt=Segment((1,), sampled=False),
                reward=Reward(outcome, outcome + self.shaped * sample),
            )
            for each in jobs
            for sample, outcome in enumerate(self.outcomes[each.group])
        ]


def run(script: Script, quota: int, *, more: int | None = None, **options: float) -> Sampled:
    """Groups are numbered from 0; the first ``quota`` are the collection's, and so many more can be had."""
    last = len(script.outcomes) if more is None else quota + more
    further: Iterator[Job] = (job(group) for group in range(quota, last))
    settings = DynamicSampling(**options)  # type: ignore[arg-type]
    return refill(settings, [job(group) for group in range(quota)], further, script)


def groups(sampled: Sampled) -> list[int]:
    """Groups of the batch, each of two neighbours in order, or the test fails."""
    found = [trajectory.group for trajectory in sampled.kept]
    assert [trajectory.sample for trajectory in sampled.kept] == [0, 1] * (len(found) // 2)
    assert found[::2] == found[1::2]
    return found[::2]


def test_groups_of_equal_outcomes_are_dropped() -> None:
    outcomes = [[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]]  # keep 1, 0, 0, 1
    sampled = run(Script(dict(enumerate(outcomes))), 2, oversample=2.0)
    assert [(trajectory.group, trajectory.outcome) for trajectory in sampled.kept] == [
        *((0, outcome) for outcome in outcomes[0]),
        *((3, outcome) for outcome in outcomes[3]),
    ]


def test_a_round_oversamples_what_is_missing() -> None:
    # ⌈1.5 · 4⌉ = 6 prompts bring 2 groups, ⌈1.5 · 2⌉ = 3 bring 1, ⌈1.5 · 1⌉ = 2 bring the last.
    script = Script(dict(enumerate([FLAT, MIXED, FLAT, FLAT, FLAT, MIXED, FLAT, FLAT, MIXED, MIXED, FLAT])))
    sampled = run(script, 4, oversample=1.5)
    assert script.rounds == [6, 3, 2]
    assert groups(sampled) == [1, 5, 8, 9]


def test_it_stops_as_soon_as_the_batch_is_full() -> None:
    script = Script(dict(enumerate([MIXED] * 9)))
    run(script, 3, oversample=1.0, max_rounds=5)
    assert script.rounds == [3]


def test_nothing_is_dropped_when_every_group_is_informative() -> None:
    script = Script(dict(enumerate([MIXED] * 3)))
    sampled = run(script, 3, oversample=1.0)
    assert (groups(sampled), sampled.weightless) == ([0, 1, 2], frozenset())
    assert tuple(sampled.kept) == sampled.sampled


def test_surplus_groups_are_left_out_of_the_batch_and_remembered() -> None:
    sampled = run(Script(dict(enumerate([MIXED] * 6))), 3, oversample=2.0)
    assert groups(sampled) == [0, 1, 2]
    assert [trajectory.group for trajectory in sampled.sampled[::2]] == [0, 1, 2, 3, 4, 5]


def test_the_cap_fills_up_with_flat_groups_that_have_no_weight() -> None:
    script = Script(dict(enumerate([FLAT, FLAT, MIXED, *[FLAT] * 20])))
    sampled = run(script, 3, oversample=1.0, max_rounds=2)
    assert script.rounds == [3, 2]
    assert (groups(sampled), sampled.weightless) == ([2, 0, 1], {0, 1})


def test_exhausted_prompts_end_the_search() -> None:
    script = Script(dict(enumerate([FLAT, FLAT, MIXED])))
    sampled = run(script, 2, oversample=1.0, max_rounds=9)
    assert script.rounds == [2, 1]
    assert (groups(sampled), sampled.weightless) == ([2, 0], {0})


def test_outcomes_that_differ_by_no_more_than_epsilon_are_equal() -> None:
    script = Script(dict(enumerate([(0.25, 0.5), (0.25, 0.75), (0.0, 0.125)])))
    assert run(script, 1, oversample=3.0, epsilon=0.25).weightless == frozenset()
    assert groups(run(script, 1, oversample=3.0, epsilon=0.25)) == [1]
    assert groups(run(script, 1, oversample=3.0, epsilon=0.0)) == [0]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((NAN, 1.0), 0.0), ((NAN, NAN), 0.0), ((), 0.0), ((NAN, 1.0, 0.25), 0.75), ((math.inf, 1.0, -math.inf), 0.0)],
)
def test_outcomes_that_are_not_finite_make_no_difference(outcomes: Sequence[float], expected: float) -> None:
    assert spread(Script({0: outcomes})([job(0)])) == expected


def test_the_raw_outcome_decides_and_not_the_shaped_reward() -> None:
    penalised = Script(dict(enumerate([FLAT, MIXED])), shaped=-0.5)  # of flat groups, too, shaped rewards differ
    assert groups(run(penalised, 1, oversample=2.0)) == [1]
    levelled = Script(dict(enumerate([FLAT, MIXED])), shaped=-1.0)  # of mixed groups they are equal
    assert groups(run(levelled, 1, oversample=2.0)) == [1]


def test_metrics_count_rounds_and_groups() -> None:
    sampled = run(Script(dict(enumerate([FLAT, FLAT, MIXED, *[FLAT] * 20]))), 4, oversample=1.0, max_rounds=2)
    # 4 + 3 groups, one of them informative, and 3 of 4 places filled.
    assert dict(sampled.metrics) == {
        "dynamic/rounds": 2.0,
        "dynamic/sampled_groups": 7.0,
        "dynamic/dropped_share": pytest.approx(6 / 7),
        "dynamic/filled_share": 0.75,
    }


@MANY
@given(
    informative=st.lists(st.booleans(), min_size=1, max_size=30),
    quota=st.integers(1, 6),
    oversample=st.sampled_from([1.0, 1.3, 3.0]),
    max_rounds=st.integers(1, 4),
)
def test_the_batch_always_has_exactly_its_number_of_groups(
    informative: list[bool], quota: int, oversample: float, max_rounds: int
) -> None:
    known = dict(enumerate(itertools.chain((MIXED if each else FLAT for each in informative), [FLAT] * quota)))
    sampled = run(Script(known), quota, more=len(informative), oversample=oversample, max_rounds=max_rounds)
    found = groups(sampled)
    assert len(found) == len(set(found)) == quota
    assert sampled.weightless == {group for group in found if known[group] == FLAT}


@pytest.mark.parametrize("options", [{"oversample": 0.9}, {"max_rounds": 0}, {"epsilon": -0.1}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="oversample ≥ 1, max_rounds ≥ 1 and epsilon ≥ 0"):
        DynamicSampling(**options)  # type: ignore[arg-type]
