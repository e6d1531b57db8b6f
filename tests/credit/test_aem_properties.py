"""AEM against the loop of its equation, in its properties, and over two ranks."""

import math
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_batches import MANY, batches
from torch import Tensor

from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.base import ReduceOp
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

SCOPES = st.sampled_from(["group", "trajectory", "batch"])
OPTIONS = st.builds(AEM, scope=SCOPES, lam=st.sampled_from([1.0, 0.5, 2.0, -1.0]), guard=st.sampled_from([0.1, 0.5]))
UNGUARDED = st.builds(AEM, scope=SCOPES, guard=st.just(0.0))


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
        place = min(max((mean - low) / span, 0.0), 1.0)  # a copied turn may lie outside of what is counted
        alpha = math.exp(-assigner.lam * place) / (sum(weights) / len(weights))
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


@MANY
@given(batches(), OPTIONS, st.booleans())
def test_aem_equals_the_loop_of_its_equation(batch: RolloutBatch, assigner: AEM, masked: bool) -> None:
    if masked:
        batch = replace(batch, loss_mask=batch.action_mask & ~batch.truncated[:, None])
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), OPTIONS)
def test_a_turn_copied_from_a_parent_is_measured_but_counted_once(batch: RolloutBatch, assigner: AEM) -> None:
    torch.testing.assert_close(assigner(batch).advantages, slowly(assigner, batch), rtol=0, atol=1e-9)


@MANY
@given(batches(branches=True), OPTIONS)
def test_alpha_averages_1_over_the_counted_turns_of_a_pool(batch: RolloutBatch, assigner: AEM) -> None:
    for _, factors in counted(batch, assigner):
        assert sum(factors) / len(factors) == pytest.approx(1)


@MANY
@given(batches(), OPTIONS)
def test_alpha_lies_between_e_to_minus_lambda_and_e_to_lambda(batch: RolloutBatch, assigner: AEM) -> None:
    bound, factors = math.exp(abs(assigner.lam)), assigner(batch).components["entropy factor"][batch.turn_mask]
    assert ((factors > 1 / bound) & (factors < bound)).all()


@MANY
@given(batches(), UNGUARDED)
def test_the_more_entropy_the_less_alpha(batch: RolloutBatch, assigner: AEM) -> None:
    for entropies, factors in counted(batch, assigner):
        ordered = [factor for _, factor in sorted(zip(entropies, factors, strict=True))]
        assert all(a > b for a, b in pairwise(ordered))


@MANY
@given(batches(), OPTIONS)
def test_the_sign_of_the_credit_is_kept(batch: RolloutBatch, assigner: AEM) -> None:
    assert torch.equal(assigner(batch).advantages.sign(), assigner.base(batch).advantages.sign())


@MANY
@given(batches(), UNGUARDED)
def test_the_unit_and_the_zero_of_entropy_do_not_matter(batch: RolloutBatch, assigner: AEM) -> None:
    other = replace(batch, entropies=batch.entropies * 2.5 + 0.7)
    torch.testing.assert_close(assigner(other).advantages, assigner(batch).advantages, rtol=0, atol=1e-9)


@MANY
@given(batches(), UNGUARDED)
def test_shuffling_hands_every_turn_the_alpha_of_another_one_of_its_pool(batch: RolloutBatch, assigner: AEM) -> None:
    shuffled = counted(batch, replace(assigner, shuffle=True))
    for (_, before), (_, after) in zip(counted(batch, assigner), shuffled, strict=True):
        assert sorted(before) == sorted(after)
        assert len(before) == 1 or all(a != b for a, b in zip(before, after, strict=True))


@MANY
@given(batches(), st.builds(AEM, scope=SCOPES, shuffle=st.just(True)))
def test_shuffling_does_not_depend_on_the_order_of_rows(batch: RolloutBatch, assigner: AEM) -> None:
    order = torch.arange(len(batch)).flip(0)
    permuted = assigner(batch.select(order)).advantages
    torch.testing.assert_close(permuted, assigner(batch).advantages[order], rtol=0, atol=1e-9)


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


def test_a_copy_of_a_masked_turn_stays_within_the_bounds() -> None:
    # Row 1 copies row 0's first turn, and row 0 may not be trained: the copy, 0.2, lies below its pool's 1 … 1.11.
    made = rollouts(
        [[1, 1]] * 3,
        [1, 0, 1],
        parents=[-1, 0, -1],
        inherited=[0, 5, 0],
        entropies=[[0.2, 1.0], [0.2, 1.0], [1.05, 1.11]],
    )
    masked = replace(made, loss_mask=made.action_mask & torch.tensor([[False], [True], [True]]))
    alpha = AEM()(masked).components["entropy factor"][masked.turn_mask]
    assert alpha.min() > math.exp(-1)
    assert alpha.max() < math.e


def test_a_turn_without_entropy_never_spoils_the_batch() -> None:
    # Span .001 around 1: a turn without a token, taken for 0, would weigh exp(1000).
    made = rollouts([[1, 1, 0, 1]], [1.0], entropies=[[1.0, 1.001, 1.0005]])
    whole, group = (AEM(scope=scope, guard=0.0)(made).components["entropy factor"] for scope in ("batch", "group"))
    torch.testing.assert_close(whole, group)
