"""The Branching Score (APPO) against a pencil and against a slow loop."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches
from responses import RESPONSE, choose, columns, example, rows

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.ops import suffix_sum
from lightning_agentrl.types import RolloutBatch

FEW = settings(MANY, max_examples=50)


def near(brancher: ProceduralBranching, batch: RolloutBatch, name: str = "future") -> Any:
    """Values on the eight tokens of the example."""
    values = brancher.future(batch) if name == "future" else brancher.score(batch)[0]
    return values[0, RESPONSE].tolist()


# --- Ω and BS --------------------------------------------------------------------------------------------------------


def test_the_future_value_is_a_decayed_sum_of_what_is_ahead() -> None:
    # γ = 2^(−1/32) = .978572. From the right: S₉ = .04, S₈ = .05 + γ · .04 = .089143, S₇ = −.12 + γ · .089143, and so
    # on; over the tool's two columns S only decays. Ω = e^S: Ω₉ = e^.04 = 1.040811, Ω₈ = e^.089143 = 1.093237.
    expected = [1.091404, 1.071374, 0.978711, 1.009092, 0.949267, 0.967764, 1.093237, 1.040811]
    assert near(ProceduralBranching(), example()) == pytest.approx(expected, abs=1e-6)


def test_without_decay_everything_ahead_counts_the_same() -> None:
    # S₀ = Σ Δ = .09 and e^.09 = 1.094174; e^.07 = 1.072508; e^−.02 = .980199.
    released = ProceduralBranching(half_life=None)
    assert near(released, example())[:3] == pytest.approx([1.094174, 1.072508, 0.980199], abs=1e-6)
    score = near(released, example(), "score")
    assert (score[1], score[7]) == pytest.approx((0.711584, 0.088093), abs=1e-6)


def test_the_branching_score_is_the_product_of_two_z_scores() -> None:
    # H has the mean .93125 and σ = .808138: z(H) = (H − .93125)/σ. Ω has the mean 1.025207 and σ = .053473. So BS₁ =
    # .827519 · .863384 = .714467, and BS₂ = −1.090469 · −.869547 = .948215.
    expected = [-1.273371, 0.714467, 0.948215, -0.435875, 1.109333, -1.287780, -1.151200, 0.097041]
    assert near(ProceduralBranching(), example(), "score") == pytest.approx(expected, abs=1e-6)


def test_both_factors_must_be_positive() -> None:
    """The products alone would come in the order 6, 2, 1, 9, and 6 and 2 owe theirs to two negative factors."""
    brancher = ProceduralBranching(distance=1)
    score, candidate = brancher.score(example())
    place = score[0].argsort(descending=True).tolist()
    assert [column - 2 for column in place[:4]] == [6, 2, 1, 9]
    assert candidate[0].nonzero()[:, 0].tolist() == [3, 11]
    points = choose(brancher, example())
    assert [point.column - 2 for point in points] == [1, 9]
    assert [point.score for point in points] == pytest.approx([0.714467, 0.097041], abs=1e-6)


def test_the_future_value_is_clipped_before_it_is_compared() -> None:
    # e^.5 and e^−.5 lie outside of [.8, 1.2], and e^.1 = 1.105171 inside.
    batch = rows([1.0] * 4, moved=[[0.5, 0.0, -0.6, 0.1]])
    # S = 0, −.5, −.5, .1 without decay.
    assert ProceduralBranching(half_life=None).future(batch)[0, 2:].tolist() == pytest.approx([1.0, 0.8, 0.8, 1.105171])
    wide = ProceduralBranching(half_life=None, clip=0.3)
    assert wide.future(batch)[0, 3].item() == pytest.approx(0.7)
    risen = rows([1.0] * 2, moved=[[0.5, 0.0]])
    assert ProceduralBranching().future(risen)[0, 2].item() == pytest.approx(1.2)


def test_a_policy_that_ran_away_overflows_nothing() -> None:
    batch = rows([1.0, 2.0], moved=[[5000.0, 0.0]])
    assert ProceduralBranching().future(batch)[0, 2:].tolist() == pytest.approx([1.2, 1.0])


def test_skipping_what_the_policy_did_not_say() -> None:
    # One token, two of observation, one token: γ² or nothing of the decay is left over the observation's columns.
    batch = rows([1.0, 1.0], moved=[[0.0, 0.1]], turns=[[1, 1]])
    assert ProceduralBranching(half_life=1.0).future(batch)[0, 2].item() == pytest.approx(math.exp(0.1 / 8))
    sampled = ProceduralBranching(half_life=1.0, positions="sampled").future(batch)
    assert sampled[0, 2].item() == pytest.approx(math.exp(0.1 / 2))


@FEW
@given(batches(), st.sampled_from(["all", "sampled"]), st.sampled_from([None, 2.0, 32.0]))
def test_the_future_value_equals_a_dense_matrix(batch: RolloutBatch, positions: Any, half_life: float | None) -> None:
    brancher = ProceduralBranching(half_life=half_life, positions=positions, clip=0.999)
    gamma = 1.0 if half_life is None else 2 ** (-1 / half_life)
    assert batch.current_logprobs is not None
    assert batch.old_logprobs is not None
    for row in range(len(batch)):
        mask = batch.action_mask[row]
        moved = (batch.current_logprobs[row] - batch.old_logprobs[row]) * mask
        place = mask.cumsum(0) if positions == "sampled" else torch.arange(len(mask))
        gap = (place[None, :] - place[:, None]).double()  # [T, T] tokens from row to column
        decay = torch.where(torch.ones_like(gap).triu() > 0, gamma**gap, 0.0)
        expected = (decay @ moved).exp().clamp(0.001, 1.999)
        torch.testing.assert_close(brancher.future(batch)[row][mask], expected[mask])


def test_a_long_rollout_needs_no_matrix() -> None:
    # 10⁵ × 10⁵ numbers would be 80 GB.
    assert suffix_sum(torch.ones(1, 100_000, dtype=torch.float64), 0.5)[0, 0] == pytest.approx(2.0)


@FEW
@given(batches(), st.sampled_from(["all", "sampled"]), st.sampled_from(["drift", "snapshot", "mismatch", "entropy"]))
def test_nothing_that_a_tool_wrote_is_looked_at(batch: RolloutBatch, positions: Any, source: Any) -> None:
    brancher = ProceduralBranching(positions=positions, source=source)
    fields = ("entropies", "old_logprobs", "current_logprobs", "ref_logprobs", "sampling_logprobs")
    wild: dict[str, Any] = {
        name: torch.where(batch.action_mask, getattr(batch, name), 1e3 * number) for number, name in enumerate(fields)
    }
    for found, expected in zip(brancher.score(replace(batch, **wild)), brancher.score(batch), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not brancher.score(batch)[1][~batch.action_mask].any()


@FEW
@given(batches(), st.randoms(use_true_random=False))
def test_a_rollouts_score_does_not_depend_on_the_others(batch: RolloutBatch, rng: random.Random) -> None:
    order = torch.tensor(rng.sample(range(len(batch)), len(batch)))
    found, expected = ProceduralBranching().score(batch.select(order)), ProceduralBranching().score(batch)
    torch.testing.assert_close(found[0], expected[0][order])
    assert torch.equal(found[1], expected[1][order])


# --- no drift --------------------------------------------------------------------------------------------------------


def test_without_drift_entropy_decides_and_not_the_first_tokens_of_the_first_row() -> None:
    # z(H) > 0 where H is above 1: the release, Ω = 1 everywhere, takes row 0's tokens 0, 1, 2, …
    batch = rows([0.0, 0.0, 0.0, 4.0], [0.0, 3.0, 0.0, 1.0], moved=[[0.0] * 4] * 2)
    points = choose(ProceduralBranching(branches=3, distance=1), batch)
    assert sorted((point.parent, point.column) for point in points) == [(0, 5), (1, 3)]
    # Mean 1, σ = √3, and (4 − 1)/√3 = 1.732051.
    assert max(point.score for point in points) == pytest.approx(math.sqrt(3), abs=2e-6)


@pytest.mark.parametrize(("noise", "chosen"), [(0.9e-4, 5), (1.1e-4, 3)])
def test_numerical_noise_is_not_taken_for_drift(noise: float, chosen: int) -> None:
    # S = n, n, −n, −n, so Ω has the standard deviation n, and the guard is 1e-4. H alone is highest at column 5, where
    # z(Ω) is negative; at column 3 both are positive.
    batch = rows([0.0, 3.0, 0.0, 4.0], moved=[[0.0, 2 * noise, 0.0, -noise]])
    brancher = ProceduralBranching(half_life=None, branches=1)
    assert columns(brancher, batch) == [chosen]
    assert brancher.describe(batch)["guarded_share"] == (chosen == 5)


def test_a_guard_of_zero_still_refuses_to_divide_by_nothing() -> None:
    batch = rows([0.0, 1.0])
    assert columns(ProceduralBranching(guard=0.0), batch) == [3]
