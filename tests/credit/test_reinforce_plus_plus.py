"""REINFORCE++ against a pencil, against the loop of its equation, and over two ranks."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.credit.base import ReduceOp
from lightning_agentrl.credit.reinforce_plus_plus import ReinforcePlusPlus
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch, Signal

OPTIONS = st.sampled_from(
    [
        ReinforcePlusPlus(),
        ReinforcePlusPlus(eps=0.0),
        ReinforcePlusPlus(baseline=True),
        ReinforcePlusPlus(gamma=0.9, eps=0.01),
        ReinforcePlusPlus(kl_coefficient=0.1),
        ReinforcePlusPlus(baseline=True, kl_coefficient=0.5, gamma=0.5),
        ReinforcePlusPlus(kl_coefficient=0.2, gamma=0.0),
    ]
)


def cut(batch: RolloutBatch) -> RolloutBatch:
    """The batch with its truncated rows masked."""
    return replace(batch, loss_mask=batch.action_mask & ~batch.truncated[:, None])


def slowly(assigner: ReinforcePlusPlus, batch: RolloutBatch) -> Tensor:
    """G_k = ρ_k + γ·G_{k+1} over a row's trained tokens, minus the mean, over sqrt(var + eps) of all of them."""
    rewards, groups = batch.rewards.tolist(), batch.group_ids.tolist()
    returns: dict[tuple[int, int], float] = {}
    for row, mask in enumerate(batch.trainable.tolist()):
        siblings = [reward for reward, group in zip(rewards, groups, strict=True) if group == groups[row]]
        running = rewards[row] - (sum(siblings) / len(siblings) if assigner.baseline else 0.0)
        first = True
        for column in reversed(range(len(mask))):
            if not mask[column]:
                continue
            running = running if first else assigner.gamma * running
            first = False
            ratio = batch.old_logprobs[row, column].item() - batch.ref_logprobs[row, column].item()
            running -= assigner.kl_coefficient * ratio
            returns[row, column] = running
    advantages = torch.zeros(batch.input_ids.shape, dtype=torch.float64)
    if len(returns) < 2 or max(returns.values()) - min(returns.values()) < 1e-12:
        return advantages
    mean = sum(returns.values()) / len(returns)
    variance = sum((value - mean) ** 2 for value in returns.values()) / (len(returns) - 1)
    for place, value in returns.items():
        advantages[place] = (value - mean) / math.sqrt(variance + assigner.eps)
    return advantages


def on_two_ranks(assigner: ReinforcePlusPlus, halves: list[RolloutBatch]) -> list[Tensor]:
    """The advantages of each half, where reductions see both."""
    barrier, mail = threading.Barrier(2, timeout=30), {}

    def rank(number: int) -> Tensor:
        def all_reduce(tensor: Tensor, op: ReduceOp = "sum") -> Tensor:
            mail[number] = tensor
            barrier.wait()
            both = torch.stack([mail[0], mail[1]])
            barrier.wait()  # nobody posts again before everybody has read
            return {"sum": both.sum(0), "min": both.amin(0), "max": both.amax(0)}[op]

        return assigner(halves[number], all_reduce=all_reduce).advantages

    with ThreadPoolExecutor(2) as ranks:
        return list(ranks.map(rank, range(2)))


def test_returns_with_a_kl_in_the_reward_are_whitened_over_all_tokens() -> None:
    # k1 = log π_old − log π_ref = [.2, −.1] and [0, .3, −.2], β = .1, R = 1 and 0.
    # Token rewards [−.02, 1.01], [0, −.03, .02]; returns [.99, 1.01], [−.01, −.01, .02].
    # Mean 2/5 = .4; squares .3481 + .3721 + .1681 + .1681 + .1444 = 1.2008; var = 1.2008/4 = .3002, std .547905.
    batch = rollouts(
        [[2], [3]],
        rewards=[1, 0],
        old_logprobs=[[-0.8, -1.1], [-1.0, -0.7, -1.2]],
        ref_logprobs=[[-1.0, -1.0], [-1.0, -1.0, -1.0]],
    )
    advantages = ReinforcePlusPlus(kl_coefficient=0.1)(batch).advantages[:, 2:]
    expected = torch.tensor([[1.076829, 1.113331, 0.0], [-0.748305, -0.748305, -0.693551]])
    torch.testing.assert_close(advantages, expected, atol=2e-6, rtol=0)  # printed to six digits


def test_the_baseline_is_taken_off_before_whitening() -> None:
    # R − group mean: .5 and −.5 on 2 and 3 tokens; mean −.1; var (2·.36 + 3·.16)/4 = .3; .6/√.3 and −.4/√.3.
    advantages = ReinforcePlusPlus(baseline=True)(rollouts([[2], [3]], rewards=[1, 0])).advantages[:, 2:]
    expected = torch.tensor([[1.095445, 1.095445, 0.0], [-0.730297, -0.730297, -0.730297]])
    torch.testing.assert_close(advantages, expected, atol=2e-6, rtol=0)  # printed to six digits


def test_the_return_is_carried_over_an_observation_token() -> None:
    # Tokens a o a, R = 1 on the last: returns 1, –, 1; zeros in the other row. Mean .5, var 4·.25/3 = 1/3.
    # verl-agent's form, which starts anew at an observation, would give the first action 0.
    batch = rollouts([[1, 1], [1, 1]], rewards=[1, 0], observation=1)
    value = 0.5 * 3**0.5
    torch.testing.assert_close(
        ReinforcePlusPlus()(batch).advantages[:, 2:], torch.tensor([[value, 0, value], [-value, 0, -value]])
    )


def test_an_observation_discounts_nothing() -> None:
    # γ = .5 and two observation tokens: returns .5 and 1, zeros in the other row. Mean 1.5/4 = .375;
    # squares .015625 + .390625 + 2·.140625 = .6875; std sqrt(.6875/3) = .478714.
    batch = rollouts([[1, 1], [1, 1]], rewards=[1, 0])
    advantages = ReinforcePlusPlus(gamma=0.5)(batch).advantages[:, [2, 5]]
    expected = torch.tensor([[0.125, 0.625], [-0.375, -0.375]]) / (0.6875 / 3) ** 0.5
    torch.testing.assert_close(advantages, expected)


@MANY
@given(batches(branches=True), OPTIONS, st.booleans())
def test_reinforce_plus_plus_equals_the_loop_of_its_equation(
    batch: RolloutBatch, assigner: ReinforcePlusPlus, masked: bool
) -> None:
    batch = cut(batch) if masked else batch
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(), OPTIONS)
def test_two_ranks_give_the_credit_of_one(batch: RolloutBatch, assigner: ReinforcePlusPlus) -> None:
    first = batch.group_ids == batch.group_ids[0]
    assume(not first.all())
    rows = [first.nonzero()[:, 0], (~first).nonzero()[:, 0]]
    parts = on_two_ranks(assigner, [batch.select(half) for half in rows])
    torch.testing.assert_close(torch.cat(parts), assigner(batch).advantages[torch.cat(rows)], rtol=0, atol=1e-9)


@MANY
@given(batches(), OPTIONS, st.booleans())
def test_a_row_without_a_reward_earns_nothing_and_is_as_if_it_were_not_there(
    batch: RolloutBatch, assigner: ReinforcePlusPlus, masked: bool
) -> None:
    assume(len(batch) > 1)
    batch.rewards[0] = math.nan
    batch = cut(batch) if masked else batch
    advantages = assigner(batch).advantages
    assert not advantages[0].any()
    others = batch.select(torch.arange(1, len(batch)))
    torch.testing.assert_close(advantages[1:], assigner(others).advantages, rtol=0, atol=1e-9)


def test_equal_rewards_earn_exactly_nothing() -> None:
    # 0.9 is not a binary fraction: the mean of six differs from it in the last bit, and there is no eps to hide that.
    assert not ReinforcePlusPlus(eps=0.0)(rollouts([[2], [3], [1]], rewards=[0.9, 0.9, 0.9])).advantages.any()


def test_the_component_is_the_mean_of_each_turns_credit() -> None:
    # Three tokens return 1 and three 0: mean .5, var 6·.25/5 = .3, .5/√.3 = √(5/6).
    credit = ReinforcePlusPlus()(rollouts([[2, 1], [3]], rewards=[1, 0]))
    torch.testing.assert_close(credit.components["return"], torch.tensor([[1.0, 1.0], [-1.0, 0.0]]) * (5 / 6) ** 0.5)


def test_log_probs_are_asked_for_only_with_a_kl() -> None:
    assert ReinforcePlusPlus().requires == Signal.NONE
    assert ReinforcePlusPlus(kl_coefficient=0.1).requires == Signal.OLD_LOGPROBS | Signal.REF_LOGPROBS


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"gamma": -0.1}, {"kl_coefficient": -1.0}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        ReinforcePlusPlus(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rewards", "expected"), [([3e-4, 0.0], 0.707107), ([10000.1, 10000.1], 0.0)])
def test_what_counts_as_equal_depends_on_the_size_of_the_returns(rewards: list[float], expected: float) -> None:
    found = ReinforcePlusPlus(eps=0.0)(rollouts([[1], [1]], rewards)).advantages[:, 2]
    assert found.tolist() == pytest.approx([expected, -expected], abs=2e-6)
