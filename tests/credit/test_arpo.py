"""ARPO against a pencil, against a slow loop, and where soft and hard credit agree or do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.losses.base import Aggregation, aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.ops import owner_rows
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

FEW = settings(MANY, max_examples=50)
SOFT, HARD, ONCE = ARPO(), ARPO(credit="hard"), ARPO(credit="hard", prefix_weight="one")

# Rewards 1, 0, .6, .1 of A, B, C (a branch of B) and D (a branch of A): mean .425, Σ(R − mean)² = .6475,
# sample σ = √(.6475/3) = .464579, population σ = √(.6475/4) = .402337.
SAMPLE = [1.237678, -0.914805, 0.376685, -0.699557]
POPULATION = [1.429147, -1.056326, 0.434958, -0.807779]
# (1.237678 − .699557)/2 and (−.914805 + .376685)/2.
SHARED = [0.269060, -0.269060, -0.269060, 0.269060]


def tree(sizes: list[int] | None = None, ratio: float = 1.0) -> RolloutBatch:
    """A, B, C, D with one turn each, whose first token C has from B and D from A; all ratios are the same."""
    made = rollouts(
        [[size] for size in sizes or [2, 2, 2, 2]],
        rewards=[1, 0, 0.6, 0.1],
        parents=[-1, -1, 1, 0],
        inherited=[0, 0, 3, 3],  # two tokens of prompt and the first of the turn
    )
    made = made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)
    old = -1.0 * made.action_mask
    return replace(made, old_logprobs=old, current_logprobs=old + math.log(ratio) * made.action_mask)


@pytest.mark.parametrize(("ddof", "expected"), [(1, SAMPLE), (0, POPULATION)])
def test_soft_credit_is_the_rows_own_on_every_token(ddof: int, expected: list[float]) -> None:
    advantages = ARPO(ddof=ddof)(tree()).advantages[:, 2:]
    wanted = torch.tensor(expected, dtype=torch.float64)[:, None].expand(4, 2)
    torch.testing.assert_close(advantages, wanted, rtol=0, atol=2e-6)  # six printed digits, here and below


@pytest.mark.parametrize("assigner", [HARD, ONCE], ids=["descendants", "one"])
def test_hard_credit_is_the_mean_on_shared_tokens_and_ones_own_behind(assigner: ARPO) -> None:
    advantages = assigner(tree()).advantages
    assert advantages[:, 2].tolist() == pytest.approx(SHARED, abs=2e-6)
    assert advantages[:, 3].tolist() == pytest.approx(SAMPLE, abs=2e-6)


def test_a_token_that_counts_once_is_trained_in_the_row_that_sampled_it() -> None:
    mask = apply_credit(ONCE, tree())[0].loss_mask
    assert mask is not None
    assert mask[:, 2:].tolist() == [[True, True], [True, True], [False, True], [False, True]]
    assert not mask[:, :2].any()


def test_a_token_that_counts_once_is_trained_elsewhere_if_its_row_is_masked() -> None:
    # A may not be trained: D, which shares A's first token, trains it in its place; B and C are as before.
    made = tree()
    masked = replace(made, loss_mask=made.action_mask & torch.tensor([[False], [True], [True], [True]]))
    mask = apply_credit(ONCE, masked)[0].loss_mask
    assert mask is not None
    assert mask[:, 2:].tolist() == [[False, False], [True, True], [False, True], [True, True]]


def objective(assigner: ARPO, made: RolloutBatch, mode: Aggregation) -> float:
    """What the copies of the token that A and D share add to the objective, times the number of tokens or rows."""
    made, _ = apply_credit(assigner, made)
    values, _ = ClippedLoss()(made.current_logprobs, made)  # type: ignore[arg-type]
    one = torch.tensor(1)
    weights = aggregate(made.loss_mask, mode, tokens=one, rows=one)  # type: ignore[arg-type]
    return -float((values * weights)[[0, 3], 2].sum())


@pytest.mark.parametrize(
    ("ratio", "soft", "hard"),
    [
        (1.0, 0.538121, 0.538121),  # 1.237678 − .699557 = 2 · .269060
        (1.1, 0.591933, 0.591933),
        (1.5, 0.435878, 0.645745),  # 1.2 · 1.237678 − 1.5 · .699557; 2 · 1.2 · .269060
        (0.6, 0.182961, 0.322873),  # .6 · 1.237678 − .8 · .699557; 2 · .6 · .269060
    ],
)
def test_soft_and_hard_differ_outside_the_clip_range_only(ratio: float, soft: float, hard: float) -> None:
    assert objective(SOFT, tree(ratio=ratio), "token-mean") == pytest.approx(soft, abs=2e-6)
    assert objective(HARD, tree(ratio=ratio), "token-mean") == pytest.approx(hard, abs=2e-6)


def test_soft_and_hard_differ_when_every_row_counts_the_same() -> None:
    # A has 10 tokens, D has 20: 1.237678/10 − .699557/20 = .088790; .269060 · (1/10 + 1/20) = .040359.
    made = tree([10, 2, 2, 20])
    assert objective(SOFT, made, "sequence-mean") == pytest.approx(0.088790, abs=2e-6)
    assert objective(HARD, made, "sequence-mean") == pytest.approx(0.040359, abs=2e-6)


def test_a_token_shared_by_d_leaves_counts_d_times_or_once() -> None:
    assert objective(HARD, tree(), "token-mean") == pytest.approx(2 * 0.269060, abs=2e-6)
    assert objective(ONCE, tree(), "token-mean") == pytest.approx(0.269060, abs=2e-6)


def test_a_branch_of_a_branch_shares_with_both() -> None:
    # One turn of three tokens: row 2 has the first from row 1, row 3 has two from row 2. Mean 1, σ 1: z = −1, 0, 1.
    made = rollouts([[3]] * 3, [0, 1, 2], parents=[-1, 0, 1], inherited=[0, 3, 4])
    found = ARPO(credit="hard", eps=0.0)(made).advantages[:, 2:]
    assert found.tolist() == [[0, -1, -1], [0, 0.5, 0], [0, 0.5, 1]]


def loop(made: RolloutBatch, assigner: ARPO) -> tuple[torch.Tensor, torch.Tensor]:
    """Credit, and whether a token is trained, token by token."""
    groups, rewards, ids = made.group_ids.tolist(), made.rewards.tolist(), made.trajectory_ids.tolist()
    parents, inherited = made.parent_ids.tolist(), made.inherited.tolist()  # type: ignore[union-attr]
    own = []
    for reward, group in zip(rewards, groups, strict=True):
        pool = [r for r, other in zip(rewards, groups, strict=True) if other == group]
        mean = sum(pool) / len(pool)
        if len(set(pool)) == 1:
            own.append(0.0)
        else:
            std = math.sqrt(sum((r - mean) ** 2 for r in pool) / (len(pool) - assigner.ddof))
            own.append((reward - mean) / (std + assigner.eps))

    def author(row: int, column: int) -> int:
        while parents[row] >= 0 and column < inherited[row]:
            row = ids.index(parents[row])
        return row

    credit = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    trained = made.action_mask.clone()
    for i, column in made.action_mask.nonzero().tolist():
        credit[i, column] = own[i]
        if assigner.credit == "hard":
            alike = [j for j in range(len(made)) if author(j, column) == author(i, column)]
            credit[i, column] = sum(own[j] for j in alike) / len(alike)
            trained[i, column] = assigner.prefix_weight == "descendants" or author(i, column) == i
    return credit, trained


@MANY
@given(batches(branches=True), st.sampled_from([SOFT, HARD, ONCE, ARPO(credit="hard", ddof=0, eps=0.0)]))
def test_credit_is_that_of_a_slow_loop(made: RolloutBatch, assigner: ARPO) -> None:
    credited, _ = apply_credit(assigner, made)
    credit, trained = loop(made, assigner)
    torch.testing.assert_close(credited.advantages, credit, rtol=0, atol=1e-9)
    assert torch.equal(credited.loss_mask, trained)  # type: ignore[arg-type]


@FEW
@given(batches(), st.sampled_from([SOFT, HARD, ONCE]))
def test_without_branches_it_is_grpo(made: RolloutBatch, assigner: ARPO) -> None:
    credited, _ = apply_credit(assigner, made)
    torch.testing.assert_close(credited.advantages, GRPO()(made).advantages)
    assert torch.equal(credited.loss_mask, made.action_mask)  # type: ignore[arg-type]


@FEW
@given(batches(branches=True))
def test_inside_the_clip_range_soft_and_hard_have_the_same_gradient(made: RolloutBatch) -> None:
    old, width = made.old_logprobs, made.input_ids.shape[1]
    near = old + 0.2 * (made.current_logprobs - old).clamp(-0.5, 0.5)  # type: ignore[operator]
    owners = owner_rows(made.trajectory_ids, made.parent_ids, made.inherited, width)
    gradients = []
    for assigner in (SOFT, HARD):
        new = near.clone().requires_grad_()
        # One log-prob per distinct token, read by every row that holds it.
        values, _ = ClippedLoss()(new.gather(0, owners), apply_credit(assigner, made)[0])
        values.sum().backward()
        gradients.append(new.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("assigner", [SOFT, HARD, ONCE])
@pytest.mark.parametrize(
    "made",
    [
        rollouts([[2]], [5]),
        rollouts([[0], [0]], [1, 0], parents=[-1, 0], inherited=[0, 2]),
        rollouts([[2], [2]], [0.1, 0.1], parents=[-1, 0], inherited=[0, 3]),
        rollouts([[2], [2]], [math.nan, 1], parents=[-1, 0], inherited=[0, 3], truncated=[True, True]),
    ],
    ids=["a lone rollout", "empty actions", "equal rewards", "no reward"],
)
def test_nothing_to_compare_earns_nothing(assigner: ARPO, made: RolloutBatch) -> None:
    assert not apply_credit(assigner, made)[0].advantages.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("assigner", [HARD, ONCE])
def test_half_a_tree_is_refused(assigner: ARPO) -> None:
    with pytest.raises(ValueError, match=r"parents \[0\] of \[1\] are not in the batch"):
        assigner(rollouts([[2], [2]], [1, 0], parents=[-1, 0], inherited=[0, 3]).select(torch.tensor([1])))


@pytest.mark.parametrize("options", [{"prefix_weight": "one"}, {"ddof": 2}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"ARPO\.\w+(=one is read with credit=hard only| must)"):
        ARPO(**options)  # type: ignore[arg-type]
