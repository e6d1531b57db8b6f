"""AEM against a pencil."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch, Signal

# Two siblings of 3 and 2 turns, lengths 3, 10, 20 | 4, 10: H̃ = (H − .2) / .9 = [2/3, 1/3, 0 | 1, 1/3].
ENTROPIES = [[0.8] * 3 + [0.5] * 10 + [0.2] * 20, [1.1] * 4 + [0.5] * 10]


def siblings() -> RolloutBatch:
    return rollouts([[3, 10, 20], [4, 10]], rewards=[10, 0], entropies=ENTROPIES)


def assert_digits(actual: Tensor, expected: list[float]) -> None:
    """Equal to numbers printed to six digits."""
    torch.testing.assert_close(actual, torch.tensor(expected), atol=2e-6, rtol=0)


def alphas(assigner: AEM, batch: RolloutBatch) -> Tensor:
    """α of the turns that exist, row after row."""
    return assigner(batch).components["entropy factor"][batch.turn_mask]


@pytest.mark.parametrize(
    ("lam", "expected"),
    [
        # exp(−H̃) = [.513417, .716531, 1, .367879, .716531], mean .662872.
        (1.0, [0.774535, 1.080950, 1.508587, 0.554978, 1.080950]),
        (0.5, [0.892090, 1.053880, 1.245012, 0.755138, 1.053880]),
        (2.0, [0.543327, 1.058257, 2.061204, 0.278954, 1.058257]),
        (-1.0, [1.151519, 0.825099, 0.591209, 1.607074, 0.825099]),
    ],
)
def test_alpha_of_two_siblings(lam: float, expected: list[float]) -> None:
    assert_digits(alphas(AEM(lam=lam), siblings()), expected)


def test_alpha_rescales_the_credit_of_each_turn() -> None:
    # The base gives ±5/7.071068 = ±.707107; times the α of λ = 1.
    by_turn = [0.547679] * 3 + [0.764347] * 10 + [1.066732] * 20 + [-0.392429] * 4 + [-0.764347] * 10
    assert_digits(AEM()(siblings()).advantages[siblings().action_mask], by_turn)


def test_alpha_averages_1_over_turns_not_over_tokens() -> None:
    # (3·.774535 + 10·1.080950 + 20·1.508587 + 4·.554978 + 10·1.080950) / 47
    assert AEM()(siblings()).metrics["alpha_token_mean"].item() == pytest.approx(1.198601, abs=2e-6)


def test_credit_no_longer_averages_0_over_turns() -> None:
    # Base (3 − 2)·.707107/5 = .141421; (.547679 + .764347 + 1.066732 − .392429 − .764347)/5 = .244396.
    batch = siblings()
    per_turn = AEM()(batch).components["outcome"] * AEM()(batch).components["entropy factor"]
    assert per_turn.sum().item() / 5 == pytest.approx(0.244396, abs=2e-6)


def test_tokens_that_are_not_trained_have_no_part_in_a_turns_entropy() -> None:
    batch = rollouts([[4]], rewards=[1], entropies=[[1.2, 0.4, 0.8, 9.9]])
    mask = batch.action_mask.clone()
    mask[0, 5] = False
    # (1.2 + .4 + .8) / 3
    assert AEM()(replace(batch, loss_mask=mask)).metrics["turn_entropy"].item() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("turns", "entropies"),
    [([1, 1, 1], [0.50, 0.52, 0.55]), ([1], [0.7]), ([0, 0], [])],
    ids=["close together", "one turn", "no tokens"],
)
def test_alpha_is_1_without_a_spread_of_entropies(turns: list[int], entropies: list[float]) -> None:
    assert set(alphas(AEM(), rollouts([turns], rewards=[1], entropies=[entropies])).tolist()) == {1.0}


def test_a_spread_that_just_reaches_the_guard_counts() -> None:
    batch = rollouts([[1, 1]], rewards=[1], entropies=[[0.375, 0.5]])
    assert alphas(AEM(guard=0.125), batch).tolist() == alphas(AEM(guard=0.0), batch).tolist() != [1.0, 1.0]


@pytest.mark.parametrize("odd", [math.nan, math.inf, None])
def test_a_turn_without_a_finite_entropy_keeps_alpha_1_and_is_left_out(odd: float | None) -> None:
    # H̃ of the others 1, .5, 0: exp [.367879, .606531, 1], mean .658137.
    turns, middle = ([2, 0, 1, 1], []) if odd is None else ([2, 1, 1, 1], [odd])
    batch = rollouts([turns], rewards=[1], entropies=[[0.8, 0.8, *middle, 0.5, 0.2]])
    assert_digits(alphas(AEM(), batch), [0.558971, 1.0, 0.921588, 1.519441])


def test_invalid_entropies_are_counted_and_empty_turns_are_not_among_them() -> None:
    batch = rollouts([[1, 1, 0, 1]], rewards=[1], entropies=[[math.nan, math.inf, 0.5]])
    assert AEM()(batch).metrics["invalid_entropies"] == 2


@pytest.mark.parametrize(
    ("entropies", "expected"),
    [
        # M / (1 + (M − 1)·e⁻¹) for the confident one, the same times e⁻¹ for the others.
        ([0.0, 1.0], [1.462117, 0.537883]),
        ([0.0] + [1.0] * 127, [2.682275, 0.986754]),
        # M·e⁻¹ / (M − 1 + e⁻¹) for the uncertain one, e times that for the others.
        ([1.0] + [0.0] * 127, [0.369705, 1.004963]),
    ],
)
def test_one_turn_apart_from_the_rest_gets_the_sharp_bound(entropies: list[float], expected: list[float]) -> None:
    batch = rollouts([[1] * len(entropies)], rewards=[1], entropies=[entropies])
    assert_digits(alphas(AEM(), batch)[:2], expected)


def test_over_gigpo_both_parts_are_rescaled() -> None:
    # GiGPO gives [2.654619, 1.861807, 1.1547 | −1.069964, −1.284457 | −1.069964, −1.109362] on these rows, with states
    # s0 s1 s2 | s0 s1 | s0 s0; H̃ = (H − .3) / .9 and α = [.830738, 1.159388, 1.618056 | .830738, 1.037466 | …].
    batch = rollouts(
        [[1, 1, 1], [1, 1], [1, 1]],
        rewards=[10, 0, 0],
        turn_penalties=[[0, 0, 0], [0, 0], [0, 0.1]],
        state_keys=[[0, 1, 2], [0, 1], [0, 0]],
        entropies=[[0.9, 0.6, 0.3], [0.9, 0.7], [0.8, 1.2]],
    )
    advantages = AEM(base=GiGPO())(batch).advantages[batch.action_mask]
    assert_digits(advantages, [2.205292, 2.158556, 1.868370, -0.888859, -1.332580, -0.993317, -0.660347])


def test_a_row_without_a_reward_earns_nothing_and_leaves_the_others_theirs() -> None:
    # 1 and 0 earn ±.5/(.707107 + 1e-6) = ±.707106; the entropy is known of all: α = 3·[1, e⁻·⁵, e⁻¹]/1.974410.
    batch = rollouts([[1], [1], [1]], rewards=[1, 0, math.nan], entropies=[[0.0], [0.5], [1.0]])
    assert_digits(AEM()(batch).advantages[:, 2], [1.074406, -0.651660, 0.0])


def test_a_masked_rollout_is_left_out_of_the_pool() -> None:
    batch = rollouts([[1, 1], [1]], rewards=[1, 0], entropies=[[0.0, 1.0], [9.0]])
    masked = replace(batch, loss_mask=batch.action_mask & torch.tensor([[True], [False]]))
    assert_digits(alphas(AEM(), masked), [1.462117, 0.537883, 1.0])


def test_the_clip_scale_of_the_base_is_kept() -> None:
    batch = rollouts([[1, 1], [1, 1]], [1, 0], answer_logprobs=[[-3, -1], [-3, -2]], entropies=[[0, 1], [0.5, 2]])
    assigner = AEM(base=A2TGPO())
    scale = assigner(batch).clip_scale
    assert scale is not None
    assert assigner.scales_clip
    assert torch.equal(scale, A2TGPO()(batch).clip_scale)


def test_the_signals_of_the_base_are_asked_for_too() -> None:
    assert AEM(base=GiGPO()).requires == Signal.ENTROPIES | Signal.STATE_KEYS
    assert AEM(base=GiGPO()).reads == Signal.TURN_REWARDS


def test_a_negative_guard_is_refused() -> None:
    with pytest.raises(ValueError, match=r"AEM\.guard must be at least 0, got -0\.1"):
        AEM(guard=-0.1)
