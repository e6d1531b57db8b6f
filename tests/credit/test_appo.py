"""APPO's base credit against a pencil and against a slow loop; branches lend their rewards and are not trained."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.appo import APPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

Mode = Literal["tree", "code", "literal"]
FEW = settings(MANY, max_examples=50)
MODES = [APPO(), APPO(mode="code"), APPO(mode="literal")]
EACH = pytest.mark.parametrize("assigner", MODES, ids=["tree", "code", "literal"])

# Initial rewards 1, 0, .6, 0: mean .4, population σ = √.18 = .424264. Branches' 0, 1, .6, .6: mean .55,
# σ = √.1275 = .357071. Both get 1e-6 added.
INITIAL = [1.414210, -0.942807, 0.471403, -0.942807]
BRANCHES = [-1.540304, 1.260249, 0.140028, 0.140028]


def forest() -> RolloutBatch:
    """Four rollouts of 3 action, 2 observation and 3 action tokens, and their four branches.

    A branch that keeps tokens up to and including the i-th of the response, i counted from 0, has two columns of prompt
    and i + 1 of the response from its origin.
    """
    origins, splits = [0, 1, 1, 2], [3, 5, 2, 6]
    made = rollouts(
        [[3, 3]] * 8,
        rewards=[1, 0, 0.6, 0, 0, 1, 0.6, 0.6],
        parents=[-1] * 4 + origins,
        inherited=[0] * 4 + [2 + split + 1 for split in splits],
    )
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def response(credit: torch.Tensor, row: int) -> list[float]:
    """Credit of the six action tokens: columns 0–2 and 5–7 of the response."""
    return credit[row, [2, 3, 4, 7, 8, 9]].tolist()


def test_initial_rollouts_and_branches_are_standardised_apart() -> None:
    # Row 4 has no branch. What a branch lends is code's credit less the rollout's own.
    own = APPO(mode="code")(forest()).components["outcome"][:4, 0]
    assert own.tolist() == pytest.approx(INITIAL, abs=2e-6)  # six printed digits, here and below
    alone = [
        replace(forest(), inherited=torch.where(torch.arange(8) == row, 10, 0)) for row in range(4, 8)
    ]  # each time one branch alone shares a token, with all four still in their group
    lent = [
        response(APPO(mode="code")(made).advantages, origin)[0] - INITIAL[origin]
        for made, origin in zip(alone, [0, 1, 1, 2], strict=True)
    ]
    assert lent == pytest.approx(BRANCHES, abs=4e-6)  # differences of two


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # Up to token 2 both branches hold it: −.942807 + (1.260249 + .140028)/2 = −.242669; up to token 5 one does:
        # −.942807 + 1.260249 = .317442; behind that none.
        ("code", [-0.242669] * 3 + [0.317442] + [-0.942807] * 2),
        # (−.942807 + 1.260249 + .140028)/3 = .152490; (−.942807 + 1.260249)/2 = .158721.
        ("tree", [0.152490] * 3 + [0.158721] + [-0.942807] * 2),
        # (−.942807 + (0 − .55)/.357072)/2 on every token.
        ("literal", [-1.241555] * 6),
    ],
)
def test_credit_of_a_rollout_with_two_branches(mode: Mode, expected: list[float]) -> None:
    assert response(APPO(mode=mode)(forest()).advantages, 1) == pytest.approx(expected, abs=2e-6)


def test_literal_credit_averages_the_two_standards() -> None:
    # (1.414210 + (1 − .55)/.357072)/2 = 1.337229, and so on.
    advantages = APPO(mode="literal")(forest()).advantages
    assert advantages[:4, 2].tolist() == pytest.approx([1.337229, -1.241555, 0.305716, -1.241555], abs=2e-6)


def test_a_single_group_standardises_all_eight_together() -> None:
    # 1, 0, .6, 0, 0, 1, .6, .6: mean .475, Σx² = 3.08, σ = √(.385 − .225625) = .399218.
    own = APPO(groups="single")(forest()).components["outcome"][:4, 0]
    expected = [(r - 0.475) / (math.sqrt(0.159375) + 1e-6) for r in (1, 0, 0.6, 0)]
    assert own.tolist() == pytest.approx(expected)


def test_what_branches_added_is_told_apart_from_the_outcome() -> None:
    # Turn 1: .152490 + .942807; turn 2: (.158721 + 2 · −.942807)/3 + .942807.
    found = APPO()(forest()).components["branches"][1]
    assert found.tolist() == pytest.approx([1.095297, 0.367176], abs=4e-6)  # differences of two


@EACH
def test_branches_are_not_trained_and_earn_nothing(assigner: APPO) -> None:
    credited, numbers = apply_credit(assigner, forest())
    assert credited.loss_mask is not None
    assert credited.advantages is not None
    assert torch.equal(credited.loss_mask[:4], credited.action_mask[:4])
    assert not credited.loss_mask[4:].any()
    assert not credited.advantages[4:].any()
    assert not any(part[4:].any() for part in credited.components.values())
    assert numbers["credit/branch_share"] == 0.5


def z(value: float, pool: list[float], assigner: APPO) -> float:
    if len(set(pool)) < 2:
        return 0.0
    mean = sum(pool) / len(pool)
    std = math.sqrt(sum((x - mean) ** 2 for x in pool) / (len(pool) - assigner.ddof))
    return (value - mean) / (std + assigner.eps)


def loop(made: RolloutBatch, assigner: APPO) -> torch.Tensor:
    """Eq. 6 in its three readings, token by token of the initial rollouts."""
    groups, rewards, ids = made.group_ids.tolist(), made.rewards.tolist(), made.trajectory_ids.tolist()
    parents, inherited = made.parent_ids.tolist(), made.inherited.tolist()  # type: ignore[union-attr]
    branches = [i for i in range(len(made)) if parents[i] >= 0]

    def pool(row: int, branched: bool) -> list[float]:
        return [
            rewards[j]
            for j in range(len(made))
            if groups[j] == groups[row] and (assigner.groups == "single" or (parents[j] >= 0) == branched)
        ]

    def holds(branch: int, row: int, column: int) -> bool:
        while branch != row and parents[branch] >= 0 and column < inherited[branch]:
            branch = ids.index(parents[branch])
        return branch == row

    result = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    for i, column in made.action_mask.nonzero().tolist():
        if parents[i] >= 0:
            continue
        own = z(rewards[i], pool(i, False), assigner)
        lent = [z(rewards[b], pool(b, True), assigner) for b in branches if holds(b, i, column)]
        among = pool(i, True)
        if assigner.mode == "literal":
            result[i, column] = (own + z(rewards[i], among, assigner)) / 2 if among else own
        elif assigner.mode == "code":
            result[i, column] = own + (sum(lent) / len(lent) if lent else 0.0)
        else:
            result[i, column] = (own + sum(lent)) / (1 + len(lent))
    return result


OPTIONS = [
    *MODES,
    APPO(groups="single", ddof=1),
    APPO(mode="code", groups="single", eps=0.1),
    APPO(ddof=1),
    APPO(mode="literal", ddof=1),
]


@MANY
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_credit_is_that_of_a_slow_loop(made: RolloutBatch, assigner: APPO) -> None:
    torch.testing.assert_close(assigner(made).advantages, loop(made, assigner), rtol=0, atol=1e-9)


@FEW
@given(batches(), st.sampled_from(MODES))
def test_without_branches_it_is_grpo(made: RolloutBatch, assigner: APPO) -> None:
    torch.testing.assert_close(assigner(made).advantages, GRPO(ddof=0)(made).advantages)


@FEW
@given(batches(branches=True), st.sampled_from(OPTIONS), st.randoms(use_true_random=False))
def test_a_prompts_credit_does_not_depend_on_where_it_stands(made: RolloutBatch, assigner: APPO, rng: Random) -> None:
    names = made.group_ids.unique().tolist()
    rng.shuffle(names)
    order = torch.cat([(made.group_ids == name).nonzero()[:, 0] for name in names])
    torch.testing.assert_close(assigner(made.select(order)).advantages, assigner(made).advantages[order])


@FEW
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_a_branchs_own_tokens_change_nothing_for_the_initial_rollouts(made: RolloutBatch, assigner: APPO) -> None:
    branch = made.parent_ids >= 0  # type: ignore[operator]
    wild = torch.where(branch[:, None], math.nan, made.current_logprobs)  # type: ignore[call-overload]
    altered = replace(
        made,
        **dict.fromkeys(["old_logprobs", "current_logprobs", "sampling_logprobs", "entropies"], wild),
        input_ids=made.input_ids + branch[:, None] * 7,
    )
    torch.testing.assert_close(assigner(altered).advantages, assigner(made).advantages, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["tree", "code"])
def test_a_branch_without_a_reward_lends_nothing(mode: Mode) -> None:
    made = forest()
    without = replace(made, rewards=torch.where(torch.arange(8) == 5, math.nan, made.rewards))
    # Branches left: 0, .6, .6 of mean .4 and σ .282843; row 1 keeps the branch that holds its first turn, z = .707104.
    found = response(APPO(mode=mode)(without).advantages, 1)
    assert found[0] == pytest.approx(-0.942807 + 0.707104 if mode == "code" else (-0.942807 + 0.707104) / 2, abs=2e-6)
    assert found[3] == pytest.approx(-0.942807, abs=2e-6)


def test_a_branch_without_a_reward_is_no_second_group() -> None:
    # z of 1 and 0 is ±1; the only branch is not known, so there is nothing to average with.
    made = rollouts([[1]] * 3, [1, 0, math.nan], parents=[-1, -1, 0], inherited=[0, 0, 3])
    found = APPO(mode="literal", eps=0.0)(made).advantages[:2, 2]
    assert found.tolist() == [1, -1]


def test_a_rollout_without_a_reward_earns_the_mean_of_what_is_known() -> None:
    # Branches 1 and 0 of row 0, z = ±1; the first keeps its token, the second none: the mean over one trajectory.
    made = rollouts([[1]] * 3, [math.nan, 1, 0], parents=[-1, 0, 0], inherited=[0, 3, 2])
    assert APPO(eps=0.0)(made).advantages[0, 2] == 1


@EACH
@pytest.mark.parametrize(
    "made",
    [
        rollouts([[2]], [5]),
        rollouts([[2], [2]], [1, 0], parents=[-1, 0], inherited=[0, 3]),
        rollouts([[0], [0]], [1, 0], parents=[-1, 0], inherited=[0, 2]),
        rollouts([[2], [2], [2]], [math.nan, 1, 1], truncated=[True] * 3),
    ],
    ids=["a lone rollout", "one branch", "empty actions", "no reward"],
)
def test_nothing_to_compare_earns_nothing(assigner: APPO, made: RolloutBatch) -> None:
    assert not apply_credit(assigner, made)[0].advantages.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{"mode": "literal", "groups": "single"}, {"ddof": 2}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"APPO\.\w+(=single leaves nothing| must)"):
        APPO(**options)  # type: ignore[arg-type]
