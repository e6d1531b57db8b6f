"""A²TGPO's loss (arXiv:2605.06200, Eq. 12): its credit and clip ranges through the clipped loss over turns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.losses.base import Aggregation, aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

LOSS = ClippedLoss(ratio="turn", clip_low=3e-3, clip_high=4e-3)
PAPER, FIXED = A2TGPO(), A2TGPO(beta=0.0)
RELEASE = A2TGPO(alpha=0.3, eps=1e-6, floor=0.0)

# Mean log-prob of the ground truth after 0, 1, … process turns; 1 right, 0 wrong, −1 badly formatted.
SCORES = [[-2, -1.2, -0.4], [-2, -1.6, -1.7], [-2, -1.9, -0.9, -0.3], [-2, -2.3]]
REWARDS = [1, 0, 1, -1]
# log π − log π_old of each token of each turn: 25 tokens in 12 turns.
CHANGES = [
    [[0.0040, 0.0085, 0.0010], [0.0030, 0.0020], [-0.0010, 0.0010]],
    [[-0.0042, -0.0020], [0.0020, 0.0010, 0.0030], [0.0]],
    [[0.0020], [0.0060, 0.0040], [0.0090, 0.0010], [0.0010, 0.0030, 0.0020]],
    [[-0.0036, -0.0020], [-0.0020, -0.0020]],
]
SIZES = [[len(turn) for turn in row] for row in CHANGES]


def credited(assigner: A2TGPO) -> RolloutBatch:
    """The four rollouts with credit; what is trained has log-probs −1 + CHANGES, what sampled has −1."""
    flat = [[-1 + change for turn in row for change in turn] for row in CHANGES]
    made = rollouts(
        SIZES,
        REWARDS,
        answer_logprobs=SCORES,
        current_logprobs=flat,
        old_logprobs=[[-1.0] * len(row) for row in flat],
    )
    made = made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)
    return apply_credit(assigner, made)[0]


def total(assigner: A2TGPO, mode: Aggregation) -> tuple[torch.Tensor, torch.Tensor]:
    """The aggregated loss, and its gradient by each log-prob."""
    made = credited(assigner)
    new = made.current_logprobs.clone().requires_grad_()  # type: ignore[union-attr]
    values, _ = LOSS(new, made)
    weights = aggregate(made.action_mask, mode, tokens=torch.tensor(25), rows=torch.tensor(4))
    loss = (values * weights).sum()
    loss.backward()
    assert new.grad is not None
    return loss.detach(), new.grad


def first_tokens(values: torch.Tensor, made: RolloutBatch) -> list[float]:
    """The value of each turn, which all of its tokens share."""
    found = []
    for row, sizes in enumerate(SIZES):
        for turn in range(len(sizes)):
            shared = values[row, made.turn_ids[row] == turn]
            assert shared.min() == shared.max()
            found.append(shared[0].item())
    return found


# Row 1, turn 1: s = exp(.0135/3) = 1.004510 lies under 1 + 1.177883·.004 = 1.004712, hence −1.004510·2.214163.
RATIOS = [1.004510, 1.002503, 1, 0.996905, 1.002002, 1, 1.002002, 1.005013, 1.005013, 1.002002, 0.997204, 0.998002]
LOSSES = [
    *(-2.224149, -1.395732, -0.904534, 1.020555, 1.698371, 0.301511),
    *(-1.215064, -1.551965, -0.908152, -0.906345, 2.864856, 1.504545),
]


def test_ratio_and_loss_of_each_turn() -> None:
    made = credited(PAPER)
    values, metrics = LOSS(made.current_logprobs, made)  # type: ignore[arg-type]
    assert first_tokens(metrics["ratio"], made) == pytest.approx(RATIOS, abs=2e-6)  # six printed digits
    assert first_tokens(values, made) == pytest.approx(LOSSES, abs=2e-6)


@pytest.mark.parametrize(
    ("assigner", "clipped", "tokens"),
    [
        # Row 3's turns 2 and 3, row 4's turn 1, of two tokens each.
        (PAPER, [7, 8, 10], 6),
        # A wider range spares row 1's turn 1 (3 tokens) and row 2's turn 1 (2), a narrower one cuts row 4's.
        (FIXED, [0, 3, 7, 8], 9),
    ],
    ids=["adaptive", "fixed"],
)
def test_which_turns_are_clipped(assigner: A2TGPO, clipped: list[int], tokens: int) -> None:
    made = credited(assigner)
    _, metrics = LOSS(made.current_logprobs, made)  # type: ignore[arg-type]
    cut = first_tokens(metrics["clip_fraction"], made)
    assert [number for number, value in enumerate(cut) if value] == clipped
    assert metrics["clip_fraction"][made.action_mask].mean().item() == pytest.approx(tokens / 25)


@pytest.mark.parametrize(
    ("assigner", "sequence_mean", "token_mean"),
    [
        (PAPER, 0.176776236, -0.158031175),
        (FIXED, 0.176836169, -0.157900665),
        (RELEASE, 0.051527871, -0.209294919),
        (A2TGPO(alpha=0.3, eps=1e-6, floor=0.0, beta=0.0), 0.051558786, -0.209217446),
    ],
    ids=["paper", "paper, fixed range", "release", "release, fixed range"],
)
def test_aggregated_loss(assigner: A2TGPO, sequence_mean: float, token_mean: float) -> None:
    # 1e-7: weights are float32, and the release adds 1e-8 to the variance.
    assert total(assigner, "sequence-mean")[0].item() == pytest.approx(sequence_mean, abs=1e-7)
    assert total(assigner, "token-mean")[0].item() == pytest.approx(token_mean, abs=1e-7)


def test_every_token_of_a_turn_moves_by_the_turns_credit_and_a_clipped_turn_does_not() -> None:
    # Row 1: −Â·s/(4·7), four rows and seven tokens: −1.297421·1.004510/28 = −.046545, and so on.
    made, (_, gradient) = credited(RELEASE), total(RELEASE, "sequence-mean")
    found = first_tokens(gradient, made)
    assert found[:3] == pytest.approx([-0.046545, -0.037624, -0.032305], abs=2e-6)
    assert [number for number, value in enumerate(found) if value == 0] == [7, 8, 10]


def test_before_the_first_step_the_loss_is_minus_the_mean_credit_and_nothing_is_clipped() -> None:
    made = credited(PAPER)
    values, metrics = LOSS(made.old_logprobs, made)  # type: ignore[arg-type]
    assert made.advantages is not None
    torch.testing.assert_close(values, -made.advantages)
    assert not metrics["clip_fraction"].any()


def loop(made: RolloutBatch, assigner: A2TGPO) -> torch.Tensor:
    """Eq. 12 turn by turn: −min(s·Â, clip(s, 1 − c·ε_low, 1 + c·ε_high)·Â) on each of the turn's tokens."""
    credit = assigner(made)
    old, new = made.old_logprobs.tolist(), made.current_logprobs.tolist()  # type: ignore[union-attr]
    turn_ids, advantages = made.turn_ids.tolist(), credit.advantages.tolist()
    losses = torch.zeros(made.input_ids.shape, dtype=torch.float64)
    for i in range(len(made)):
        for turn in range(max(turn_ids[i]) + 1):
            columns = [t for t, owner in enumerate(turn_ids[i]) if owner == turn]
            if not columns:
                continue
            ratio = math.exp(sum(new[i][t] - old[i][t] for t in columns) / len(columns))
            c = 1.0 if credit.clip_scale is None else float(credit.clip_scale[i, columns[0]])
            near = min(max(ratio, 1 - c * LOSS.clip_low), 1 + c * LOSS.clip_high)
            for t in columns:
                losses[i, t] = -min(ratio * advantages[i][t], near * advantages[i][t])
    return losses


@MANY
@given(batches(branches=True), st.sampled_from([PAPER, FIXED, RELEASE, A2TGPO(first_turn_gain=False, beta=0.9)]))
def test_the_loss_is_that_of_a_slow_loop(made: RolloutBatch, assigner: A2TGPO) -> None:
    values, _ = LOSS(made.current_logprobs, apply_credit(assigner, made)[0])  # type: ignore[arg-type]
    torch.testing.assert_close(values, loop(made, assigner), rtol=0, atol=1e-9)
