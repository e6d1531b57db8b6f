"""Which tokens are chosen by the Branching Score, and what the settings of that choice mean (APPO)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from responses import choose, columns, rows

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import Signal

# --- which tokens ----------------------------------------------------------------------------------------------------


def test_so_many_from_each_rollout() -> None:
    batch = rows([9.0, 8.0, 7.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    each = choose(ProceduralBranching(branches=2, distance=1), batch)
    assert sorted((point.parent, point.column) for point in each) == [(0, 2), (0, 3), (1, 3)]


def test_or_so_many_from_all_of_a_prompt_together() -> None:
    # Row 0 has the mean 4 and σ = √(98/6) = 4.04: z(H) = 1.24, .99, .74. Row 1: (1 − 1/6)/√(5/36) = 2.24.
    batch = rows([9.0, 8.0, 7.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    pooled = choose(ProceduralBranching(branches=1, scope="prompt", distance=1), batch, budget=3)
    assert [(point.parent, point.column) for point in pooled] == [(1, 3), (0, 2), (0, 3)]


def test_the_budget_goes_to_the_best() -> None:
    batch = rows([9.0, 8.0, 7.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert [point.parent for point in choose(ProceduralBranching(), batch, budget=1)] == [1]
    assert choose(ProceduralBranching(), batch, budget=0) == []


def test_branches_of_a_rollout_keep_their_distance() -> None:
    batch = rows([5.0, 6.0, 4.0, 0.0, 0.0, 0.0], [7.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    near_by = choose(ProceduralBranching(distance=2), batch)
    # 3 is the best, and 2 and 4 are one column away from it; the other rollout may start where it likes.
    assert sorted((point.parent, point.column) for point in near_by) == [(0, 3), (1, 2)]
    assert columns(ProceduralBranching(distance=1), batch.select(torch.tensor([0]))) == [3, 2, 4]


def test_a_point_at_exactly_the_distance_is_taken() -> None:
    batch = rows([6.0, 0.0, 5.0, 0.0, 0.0])
    assert columns(ProceduralBranching(distance=2), batch) == [2, 4]
    assert columns(ProceduralBranching(distance=3), batch) == [2]


def test_a_branch_is_closed_where_it_must_not_start() -> None:
    batch = rows([6.0, 5.0, 0.0, 0.0])
    shut = batch.action_mask.clone()
    shut[0, 2] = False
    assert columns(ProceduralBranching(distance=1), batch, open_at=shut) == [3]


def test_the_chosen_token_is_sampled_anew_or_kept() -> None:
    batch = rows([0.0, 6.0, 0.0, 0.0])
    assert columns(ProceduralBranching(), batch) == [3]
    assert columns(ProceduralBranching(prefix="include"), batch) == [4]


def test_a_kept_token_is_the_one_that_is_judged() -> None:
    """The branch starts behind it, at whatever stands there."""
    batch = rows([6.0, 0.0, 0.0, 0.0], turns=[[2, 2]])
    only = torch.zeros_like(batch.action_mask)
    only[0, 2] = True
    assert columns(ProceduralBranching(prefix="include"), batch, open_at=only) == [3]
    assert columns(ProceduralBranching(prefix="include"), batch, open_at=only.roll(1)) == []


def test_a_rollout_of_equal_entropies_has_no_decision_point() -> None:
    assert choose(ProceduralBranching(), rows([1.0] * 5)) == []


def test_a_point_names_its_parent_and_not_its_row() -> None:
    batch = replace(rows([0.0, 6.0]), trajectory_ids=torch.tensor([77]))
    assert [point.parent for point in choose(ProceduralBranching(), batch)] == [77]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("drift", "old_logprobs"),
        ("half-step", "old_logprobs"),
        ("snapshot", "ref_logprobs"),
        ("mismatch", "sampling_logprobs"),
        ("entropy", None),
    ],
)
def test_a_source_compares_what_it_says_and_asks_for_no_more(source: Any, other: str | None) -> None:
    brancher = ProceduralBranching(source=source, half_life=None)
    values = {"old_logprobs": -1.1, "ref_logprobs": -1.2, "sampling_logprobs": -1.3}
    batch = rollouts([[1]], rewards=[0.0], entropies=[[1.0]])
    asked = replace(batch, current_logprobs=torch.where(batch.action_mask, -1.0, 0.0))
    for name, value in values.items():
        known = name in (*brancher.requires.field_names, "sampling_logprobs")  # the engine's always come along
        field: dict[str, Any] = {name: torch.where(batch.action_mask, value, 0.0) if known else None}
        asked = replace(asked, **field)
    expected = 0.0 if other is None else -1.0 - values[other]
    assert brancher.drift(asked)[0, 2].item() == pytest.approx(expected, abs=1e-6)
    needed = {"drift": Signal.OLD_LOGPROBS, "half-step": Signal.OLD_LOGPROBS, "snapshot": Signal.REF_LOGPROBS}
    moving = Signal.NONE if source == "entropy" else Signal.CURRENT_LOGPROBS
    assert brancher.requires == Signal.ENTROPIES | moving | needed.get(source, Signal.NONE)


def test_only_sources_that_watch_the_policy_move_need_stages() -> None:
    sources: list[Any] = ["drift", "half-step", "snapshot", "entropy", "mismatch"]
    schedules = [ProceduralBranching(source=source).schedule for source in sources]
    assert schedules == ["steps", "halves", "collection", "collection", "collection"]


def test_the_budget_is_shared_by_roots_and_their_branches() -> None:
    # M = N (B + 1).
    assert [ProceduralBranching(branches=b).initial(16) for b in (1, 3, 7)] == [8, 4, 2]
    with pytest.raises(ValueError, match=r"N·\(branches \+ 1\) .*data\.group_size=14 with branches=3"):
        ProceduralBranching().initial(14)


def test_openings_are_asked_for_with_the_settings() -> None:
    brancher = ProceduralBranching(room=5, inside_calls=False)
    assert (brancher.least_room, brancher.splits_calls) == (5, False)
    assert (ProceduralBranching().least_room, ProceduralBranching().splits_calls) == (16, True)


@pytest.mark.parametrize(
    "options",
    [{"branches": 0}, {"distance": 0}, {"room": 0}, {"half_life": 0.0}, {"clip": 0.0}, {"clip": 1.0}, {"guard": -1e-9}],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ProceduralBranching needs"):
        ProceduralBranching(**options)


def test_what_is_logged_says_whether_the_score_could_use_the_drift() -> None:
    # Row 0 did not move. Row 1, without decay: S = 0, −.5, −.5, .1, so Ω is 1, .8, .8, 1.105 and half of it at a bound;
    # mean |Δ| of both rows is (.5 + 0 + .6 + .1)/8 = .15.
    batch = rows([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], moved=[[0.0] * 4, [0.5, 0.0, -0.6, 0.1]])
    numbers = ProceduralBranching(half_life=None).describe(batch)
    assert numbers["drift"] == pytest.approx(0.15)
    assert numbers["future_bound_share"] == pytest.approx(2 / 8)
    assert numbers["guarded_share"] == pytest.approx(1 / 2)
    # Ω of row 1 has the mean .926293, and σ = √((.073707² + 2 · .126293² + .178878²)/4) = .131653; row 0 has σ = 0.
    assert numbers["future_std"] == pytest.approx(0.131653 / 2, abs=1e-6)
