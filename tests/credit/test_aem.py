"""AEM against a pencil, against the loop of its equation, in its properties, and over two ranks."""

import math
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.base import ReduceOp
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch, Signal

SCOPES = st.sampled_from(["group", "trajectory", "batch"])
OPTIONS = st.builds(AEM, scope=SCOPES, lam=st.sampled_from([1.0, 0.5, 2.0, -1.0]), guard=st.sampled_from([0.1, 0.5]))

# Two siblings of 3 and 2 turns, lengths 3, 10, 20 | 4, 10: H̃ = (H − .2) / .9 = [2/3, 1/3, 0 | 1, 1/3].
ENTROPIES = [[0.8] * 3 + [0.5] * 10 + [0.2] * 20, [1.1] * 4 + [0.5] * 10]


def siblings() -> RolloutBatch:
    return rollouts([[3, 10, 20], [4, 10]], rewards=[10, 0], entropies=ENTROPIES)


def alphas(assigner: AEM, batch: RolloutBatch) -> Tensor:
    """α of the turns that exist, row after row."""
    return assigner(batch).components["entropy factor"][batch.turn_mask]


def turns_of(batch: RolloutBatch, scope: str) -> list[tuple[int, int, int, float, bool]]:
    """Row, turn, pool, H (NaN without a trained token), and whether the turn is its row's own, one after the other."""
    groups, ends = batch.group_ids.tolist(), batch.turn_ends.tolist()
    entropies, trained, turn_ids = batch.entropies.tolist(), batch.trainable.tolist(), batch.turn_ids.tolist()
    turns = []
    for row, exists in enumerate(batch.turn_mask.tolist()):
        for turn in range(sum(exists)):
            tokens = [h for h, m, t in zip(entropies[row], trained[row], turn_ids[row], strict=True) if m and t == turn]
            mean = sum(tokens) / len(tokens) if tokens else math.nan
            own = not 0 <= ends[row][turn + 1] <= batch.inherited[row]
            turns.append((row, turn, {"group": groups[row], "trajectory": row, "batch": 0}[scope], mean, own))
    return turns


def counted(batch: RolloutBatch, assigner: AEM) -> list[tuple[list[float], list[float]]]:
    """Entropies and α of the turns that make up each pool."""
    factors = assigner(batch).components["entropy factor"]
    pools: dict[int, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for row, turn, pool, mean, own in turns_of(batch, assigner.scope):
        if own and not math.isnan(mean):
            pools[pool][0].append(mean)
            pools[pool][1].append(factors[row, turn].item())
    return list(pools.values())


def slowly(assigner: AEM, batch: RolloutBatch) -> Tensor:
    """α = exp(−λ·H̃) / mean, turn after turn, on the credit of the base."""
    turns = turns_of(batch, assigner.scope)
    advantages = assigner.base(batch).advantages.clone()
    for row, turn, pool, mean, _ in turns:
        sample = [h for _, _, p, h, own in turns if p == pool and own and not math.isnan(h)]
        if math.isnan(mean) or len(sample) < 2 or max(sample) - min(sample) < assigner.guard:
            continue
        low, span = min(sample), max(sample) - min(sample)
        weights = [math.exp(-assigner.lam * (h - low) / span) for h in sample]
        alpha = math.exp(-assigner.lam * (mean - low) / span) / (sum(weights) / len(weights))
        advantages[row, batch.turn_ids[row] == turn] *= alpha
    return advantages


def on_two_ranks(assigner: AEM, halves: list[RolloutBatch]) -> list[Tensor]:
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
    # Printed to six digits, here and below.
    torch.testing.assert_close(alphas(AEM(lam=lam), siblings()), torch.tensor(expected), atol=2e-6, rtol=0)


def test_alpha_rescales_the_credit_of_each_turn() -> None:
    # The base gives ±5/7.071068 = ±.707107; times the α of λ = 1.
    advantages = AEM()(siblings()).advantages[siblings().action_mask]
    expected = torch.tensor([0.547679, 0.764347, 1.066732, -0.392429, -0.764347])
    lengths = torch.tensor([3, 10, 20, 4, 10])
    torch.testing.assert_close(advantages, expected.repeat_interleave(lengths), atol=2e-6, rtol=0)


def test_alpha_averages_1_over_turns_not_over_tokens() -> None:
    # (3·.774535 + 10·1.080950 + 20·1.508587 + 4·.554978 + 10·1.080950) / 47
    token_mean = AEM()(siblings()).metrics["alpha_token_mean"]
    torch.testing.assert_close(token_mean, torch.tensor(1.198601), atol=2e-6, rtol=0)


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
    expected = torch.tensor([0.558971, 1.0, 0.921588, 1.519441])
    torch.testing.assert_close(alphas(AEM(), batch), expected, atol=2e-6, rtol=0)


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
    torch.testing.assert_close(alphas(AEM(), batch)[:2], torch.tensor(expected), atol=2e-6, rtol=0)


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
    expected = torch.tensor([2.205292, 2.158556, 1.868370, -0.888859, -1.332580, -0.993317, -0.660347])
    advantages = AEM(base=GiGPO())(batch).advantages[batch.action_mask]
    torch.testing.assert_close(advantages, expected, atol=2e-6, rtol=0)


@MANY
@given(batches(branches=True), OPTIONS, st.booleans())
def test_aem_equals_the_loop_of_its_equation(batch: RolloutBatch, assigner: AEM, masked: bool) -> None:
    if masked:
        batch = replace(batch, loss_mask=batch.action_mask & ~batch.truncated[:, None])
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), OPTIONS)
def test_alpha_averages_1_over_the_counted_turns_of_a_pool(batch: RolloutBatch, assigner: AEM) -> None:
    for _, factors in counted(batch, assigner):
        assert sum(factors) / len(factors) == pytest.approx(1)


@MANY
@given(batches(), OPTIONS)
def test_alpha_lies_between_e_to_minus_lambda_and_e_to_lambda(batch: RolloutBatch, assigner: AEM) -> None:
    bound = math.exp(abs(assigner.lam))
    assert ((alphas(assigner, batch) > 1 / bound) & (alphas(assigner, batch) < bound)).all()


@MANY
@given(batches(), SCOPES)
def test_the_more_entropy_the_less_alpha(batch: RolloutBatch, scope: str) -> None:
    for entropies, factors in counted(batch, AEM(scope=scope, guard=0.0)):  # type: ignore[arg-type]
        ordered = [factor for _, factor in sorted(zip(entropies, factors, strict=True))]
        assert all(a > b for a, b in zip(ordered, ordered[1:], strict=False))


@MANY
@given(batches(), OPTIONS)
def test_the_sign_of_the_credit_is_kept(batch: RolloutBatch, assigner: AEM) -> None:
    assert torch.equal(assigner(batch).advantages.sign(), assigner.base(batch).advantages.sign())


@MANY
@given(batches(), SCOPES)
def test_the_unit_and_the_zero_of_entropy_do_not_matter(batch: RolloutBatch, scope: str) -> None:
    other, assigner = replace(batch, entropies=batch.entropies * 2.5 + 0.7), AEM(scope=scope, guard=0.0)  # type: ignore[arg-type]
    torch.testing.assert_close(assigner(other).advantages, assigner(batch).advantages, rtol=0, atol=1e-9)


@MANY
@given(batches(), SCOPES)
def test_shuffling_hands_every_turn_the_alpha_of_another_one_of_its_pool(batch: RolloutBatch, scope: str) -> None:
    plain = AEM(scope=scope, guard=0.0)  # type: ignore[arg-type]
    for (_, own), (_, given_) in zip(counted(batch, plain), counted(batch, replace(plain, shuffle=True)), strict=True):
        assert sorted(own) == sorted(given_)
        assert len(own) == 1 or all(a != b for a, b in zip(own, given_, strict=True))


@MANY
@given(batches(), SCOPES)
def test_shuffling_does_not_depend_on_the_order_of_rows(batch: RolloutBatch, scope: str) -> None:
    assigner, order = AEM(scope=scope, shuffle=True), torch.arange(len(batch)).flip(0)  # type: ignore[arg-type]
    torch.testing.assert_close(
        assigner(batch.select(order)).advantages, assigner(batch).advantages[order], rtol=0, atol=1e-9
    )


@MANY
@given(batches(), OPTIONS)
def test_two_ranks_give_the_credit_of_one_in_every_scope(batch: RolloutBatch, assigner: AEM) -> None:
    first = batch.group_ids == batch.group_ids[0]
    assume(not first.all())
    rows = [first.nonzero()[:, 0], (~first).nonzero()[:, 0]]
    parts = on_two_ranks(assigner, [batch.select(half) for half in rows])
    torch.testing.assert_close(torch.cat(parts), assigner(batch).advantages[torch.cat(rows)], rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True))
def test_without_strength_the_base_is_returned_as_it_is(batch: RolloutBatch) -> None:
    assert torch.equal(AEM(lam=0.0)(batch).advantages, AEM().base(batch).advantages)


def test_the_pool_of_a_trajectory_a_group_and_a_batch_differ() -> None:
    batch = rollouts([[1, 1], [1], [1]], [1, 0, 0], groups=[0, 0, 1], entropies=[[0.0, 1.0], [0.5], [2.0]])
    # 1 / (1 + e⁻¹) · 2; 1 / (1 + e⁻¹ + e⁻·⁵) · 3; 1 / (1 + e⁻·⁵ + e⁻·²⁵ + e⁻¹) · 4
    sums = {"trajectory": (2, [0, 1]), "group": (3, [0, 1, 0.5]), "batch": (4, [0, 0.5, 0.25, 1])}
    for scope, (size, positions) in sums.items():
        expected = size / sum(math.exp(-position) for position in positions)
        assert alphas(AEM(scope=scope), batch)[0].item() == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_row_without_a_reward_earns_nothing_and_the_others_stay_finite() -> None:
    # The known rewards 1 and 0 earn ±.707106 by themselves; α = [2, 2e⁻·⁵, 2e⁻¹]·1.5/(1 + e⁻·⁵ + e⁻¹) counts all rows.
    batch = rollouts([[1], [1], [1]], rewards=[1, 0, math.nan], entropies=[[0.0], [0.5], [1.0]])
    scale = 3 / (1 + math.exp(-0.5) + math.exp(-1)) / 2**0.5
    expected = torch.tensor([scale, -scale * math.exp(-0.5), 0.0])
    # The base adds 1e-6 to its standard deviation.
    torch.testing.assert_close(AEM()(batch).advantages[:, 2], expected, atol=2e-6, rtol=0)


def test_a_masked_rollout_is_left_out_of_the_pool() -> None:
    batch = rollouts([[1, 1], [1]], rewards=[1, 0], entropies=[[0.0, 1.0], [9.0]])
    masked = replace(batch, loss_mask=batch.action_mask & torch.tensor([[True], [False]]))
    torch.testing.assert_close(alphas(AEM(), masked), torch.tensor([1.462117, 0.537883, 1.0]), atol=2e-6, rtol=0)


def test_the_clip_scale_of_the_base_is_kept() -> None:
    batch = rollouts([[1, 1], [1, 1]], [1, 0], answer_logprobs=[[-3, -1], [-3, -2]], entropies=[[0, 1], [0.5, 2]])
    assigner = AEM(base=A2TGPO())
    scale = assigner(batch).clip_scale
    assert scale is not None
    assert assigner.scales_clip
    assert torch.equal(scale, A2TGPO()(batch).clip_scale)


def test_the_signals_of_the_base_are_asked_for_too() -> None:
    assert AEM(base=GiGPO()).requires == Signal.ENTROPIES | Signal.STATE_KEYS | Signal.TURN_REWARDS


def test_a_negative_guard_is_refused() -> None:
    with pytest.raises(ValueError, match=r"AEM\.guard must be at least 0, got -0\.1"):
        AEM(guard=-0.1)
