"""APPO's loss: values of the released code on one row, and what each setting of the future does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.losses.base import aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.future_kl import FutureKLLoss
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

DELTA = [-0.30, 0.10, -0.03, 0.06, 0.10, 1.20]
# Base advantages of a rollout with reward 0 in [1, 0, .6, 0] (mean .4, variance .18) and two branches with rewards 1
# and .6 in [0, 1, .6, .6] (mean .55, variance .1275), whose mean counts up to the column where each branch leaves.
OWN = -0.4 / (0.18**0.5 + 1e-6)  # −.942807
HIGH, LOW = 0.45 / (0.1275**0.5 + 1e-6), 0.05 / (0.1275**0.5 + 1e-6)  # 1.260249 and .140028
ADVANTAGES = [*[OWN + (HIGH + LOW) / 2] * 3, OWN + HIGH, OWN, OWN]  # −.242669 × 3, .317442, −.942807 × 2


def row(moves: list[float], advantages: list[float], turns: list[int]) -> RolloutBatch:
    """One rollout whose tokens moved by so much, with an observation of two tokens between turns, in float64."""
    made = rollouts([turns], rewards=[0], old_logprobs=[[0.0] * len(moves)], current_logprobs=[moves])
    values = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    exact = {"current_logprobs": values.clone(), "advantages": values.clone(), "old_logprobs": values}
    exact["current_logprobs"][made.action_mask] = torch.tensor(moves, dtype=torch.float64)
    exact["advantages"][made.action_mask] = torch.tensor(advantages, dtype=torch.float64)
    return replace(made, **exact, loss_mask=made.action_mask)  # type: ignore[arg-type]


def example() -> RolloutBatch:
    return row(DELTA, ADVANTAGES, [3, 3])


def run(loss: FutureKLLoss | ClippedLoss, made: RolloutBatch) -> tuple[Tensor, dict[str, Tensor]]:
    assert made.current_logprobs is not None
    return loss(made.current_logprobs, made)


def future(made: RolloutBatch, **options: float | str | None) -> list[float]:
    """F of the trained tokens."""
    _, metrics = run(FutureKLLoss(**options), made)  # type: ignore[arg-type]
    return metrics["future"][made.trainable].tolist()


def test_the_future_is_the_clipped_exponential_of_a_discounted_sum() -> None:
    # γ = 2^(−1/32); exp 1.2 = 3.32 > 3 takes no part: f of the last token is exp 0, before it exp .1, then
    # exp(.06 + γ·.1), exp(−.03 + γ³·.06 + γ⁴·.1) over two observation tokens, exp(.1 − γ·.03 + …) cut to 1.2, and
    # exp(−.3 + …) raised to 1.
    expected = [1.0, 1.2, 1.125160, 1.170999, 1.105171, 1.0]
    assert future(example()) == pytest.approx(expected, abs=1e-6)  # printed with 6 digits


def test_the_future_covers_observations_without_using_them() -> None:
    # γ²·.06 + γ³·.1 and γ·.06 + γ²·.1 lie between the turns.
    _, metrics = run(FutureKLLoss(), example())
    assert metrics["future"][0, 5:7].tolist() == pytest.approx([1.163188, 1.167045], abs=1e-6)


def test_an_advantage_is_scaled_by_one_plus_half_its_future() -> None:
    # −.242669·1.5, ·1.6, ·1.56258; .317442·1.5855; −.942807·1.552586, ·1.5; read off where nothing is clipped.
    made = example()
    values, _ = run(FutureKLLoss(clip_low=1.0, clip_high=9.0), made)
    raised = -values[made.trainable] / torch.tensor(DELTA, dtype=torch.float64).exp()
    expected = [-0.364003, -0.388270, -0.379189, 0.503304, -1.463788, -1.414210]
    assert raised.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_bound_share_counts_what_the_bounds_moved() -> None:
    # The first was raised and the second cut; the last is 1 by itself.
    made = example()
    assert run(FutureKLLoss(), made)[1]["future_bound_share"][made.trainable].tolist() == [1, 1, 0, 0, 0, 0]


PUBLISHED = FutureKLLoss(dual_clip=3.0)


def test_token_losses() -> None:
    # .364003·.8, .388270·e^.1, .379189·e^−.03, −.503304·e^.06, 1.463788·e^.1, 1.414210·3 (dual clip).
    made = example()
    values, _ = run(PUBLISHED, made)
    expected = [0.291202, 0.429105, 0.367983, -0.534426, 1.617736, 4.242631]
    assert values[made.trainable].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_token_mean_is_the_released_one() -> None:
    made = example()
    weights = aggregate(made.trainable, "token-mean", tokens=torch.tensor(6), rows=torch.tensor(1))
    assert (run(PUBLISHED, made)[0] * weights).sum().item() == pytest.approx(1.069038, abs=1e-6)


def test_a_row_mean_over_all_rollouts_is_the_papers() -> None:
    # Eq. 8 divides by M = 8 rollouts, branches included: 6.414231 / 6 / 8.
    made = example()
    weights = aggregate(made.trainable, "sequence-mean", tokens=torch.tensor(6), rows=torch.tensor(8))
    assert (run(PUBLISHED, made)[0] * weights).sum().item() == pytest.approx(0.133630, abs=1e-6)


def test_without_influence_it_is_plain_clipping() -> None:
    made = example()
    values, _ = run(FutureKLLoss(influence=0.0, clip_low=0.1, clip_high=0.05, dual_clip=2.0), made)
    torch.testing.assert_close(values, run(ClippedLoss(0.1, 0.05, dual_clip=2.0), made)[0])


def test_one_optimizer_step_scales_every_advantage_alike() -> None:
    # The ratio is 1, so f is exp 0 = 1 and the loss −A·(1 + b).
    made = replace(example(), old_logprobs=None)
    values, _ = run(FutureKLLoss(influence=0.4), made)
    torch.testing.assert_close(values, -1.4 * made.advantages)  # type: ignore[operator]


def test_no_gradient_flows_through_the_future() -> None:
    made = example()
    leaf = made.current_logprobs.clone().requires_grad_()  # type: ignore[union-attr]
    values, metrics = FutureKLLoss()(leaf, made)
    (through,) = torch.autograd.grad(values.sum(), leaf)
    fixed = replace(made, advantages=made.advantages * (1 + 0.5 * metrics["future"]))  # type: ignore[operator]
    (expected,) = torch.autograd.grad(ClippedLoss(0.2, 0.28)(leaf, fixed)[0].sum(), leaf)
    torch.testing.assert_close(through, expected)


def test_a_token_that_moved_too_far_is_left_out_of_its_own_sum_and_of_those_before() -> None:
    # All sums with 1.2 in them are beyond ln 1.2; without it see above.
    assert future(example(), participation=None) == pytest.approx([1.2] * 6)


def test_participation_is_a_ratio_and_includes_its_bound() -> None:
    made = row([0.0, math.log(2)], [1, 1], [2])
    assert future(made, future_high=9.0, half_life=1.0, participation=2.0 + 1e-9) == pytest.approx([2**0.5, 2])
    assert future(made, future_high=9.0, half_life=1.0, participation=2.0 - 1e-9) == [1, 1]


def test_safety_holds_back_risky_tokens_of_negative_advantage_alone() -> None:
    # Ratios e^.1 = 1.105, e^.06 = 1.062 and e^1.2 exceed 1.05; the fourth token has a positive advantage and keeps f.
    expected = [1.0, 1.0, 1.125160, 1.170999, 1.0, 1.0]
    assert future(example(), safety=1.05) == pytest.approx(expected, abs=1e-6)


def test_safety_never_raises_a_future_between_its_bounds() -> None:
    # f = exp(.2 − γ·.3) with γ = ½ is 1.051 → 1; exp(.2 − γ·.6) = .905 stays; exp(.2 − γ·1) = .741 → .8.
    for later, expected in {-0.3: 1.0, -0.6: math.exp(-0.1), -1.0: 0.8}.items():
        made = row([0.2, later], [-1, -1], [2])
        first, _ = future(made, half_life=1.0, future_low=0.1, safety=1.1)
        assert first == pytest.approx(expected)


@pytest.mark.parametrize(("positions", "exponent"), [("all", 3), ("trained", 1)])
def test_the_discount_counts_observations_or_steps_over_them(positions: str, exponent: int) -> None:
    # γ = ½; two observation tokens lie between the two trained ones.
    made = row([0.4, 0.8], [1, 1], [1, 1])
    found = future(made, half_life=1.0, future_high=9.0, positions=positions)
    assert found == pytest.approx([math.exp(0.4 + 0.5**exponent * 0.8), math.exp(0.8)])


@MANY
@given(
    batch=batches(),
    positions=st.sampled_from(["all", "trained"]),
    half_life=st.sampled_from([0.5, 3.0, 32.0]),
    participation=st.sampled_from([None, 1.5]),
    safety=st.sampled_from([None, 1.3]),
)
def test_the_future_is_that_of_a_double_loop(
    batch: RolloutBatch,
    positions: Literal["all", "trained"],
    half_life: float,
    participation: float | None,
    safety: float | None,
) -> None:
    far = batch.old_logprobs + 5 * (batch.current_logprobs - batch.old_logprobs)  # type: ignore[operator]
    made = replace(
        batch,
        advantages=batch.ref_logprobs - batch.old_logprobs,  # type: ignore[operator]
        loss_mask=batch.action_mask & (batch.entropies > 0.2),  # type: ignore[operator]
    )
    expected = torch.ones_like(far)
    for n, t in made.trainable.nonzero().tolist():
        total = 0.0
        for k in range(t, far.shape[1]):
            move = float(far[n, k] - batch.old_logprobs[n, k])  # type: ignore[index]
            if made.trainable[n, k] and (participation is None or math.exp(move) <= participation):
                steps = k - t if positions == "all" else int(made.trainable[n, t:k].sum())
                total += 2 ** (-steps / half_life) * move
        expected[n, t] = min(max(math.exp(total), 0.7), 1.4)
        ratio = math.exp(float(far[n, t] - batch.old_logprobs[n, t]))  # type: ignore[index]
        if safety is not None and made.advantages[n, t] < 0 and ratio > safety:  # type: ignore[index]
            expected[n, t] = min(max(float(expected[n, t]), 0.8), 1.0)
    loss = FutureKLLoss(0.5, half_life, 0.7, 1.4, positions, participation, safety)
    found = torch.where(made.trainable, loss.future(far, made), 1.0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"influence": -0.1},
        {"half_life": 0.0},
        {"future_low": 0.0},
        {"future_low": 1.5},  # above future_high
        {"participation": 0.0},
        {"safety": -1.0},
        {"clip_low": 1.5},
        {"dual_clip": 0.5},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"FutureKLLoss|must"):
        FutureKLLoss(**options)  # type: ignore[arg-type]
