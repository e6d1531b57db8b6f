"""The clipped loss and its aggregations against published reference values (verl's policy losses on these arrays)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from lightning_agentrl.losses.base import Aggregation, aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

OLD = [[-1, -0.5, -2, -0.2], [-0.7, -1.2, -3]]
NEW = [[-0.7, -0.55, -1.5, -0.2], [-1.1, -0.9, -1.5]]


def batch(turns: list[list[int]] | None = None) -> RolloutBatch:
    made = rollouts(turns or [[4], [3]], rewards=[1, -0.5], old_logprobs=OLD, current_logprobs=NEW)
    advantages = torch.tensor([[1.0], [-0.5]]) * made.action_mask
    return replace(made, advantages=advantages, loss_mask=made.action_mask)


def losses(loss: ClippedLoss, made: RolloutBatch) -> list[list[float]]:
    assert made.current_logprobs is not None
    values, _ = loss(made.current_logprobs, made)
    return [row[mask].tolist() for row, mask in zip(values, made.action_mask, strict=True)]


def test_token_losses() -> None:
    # Ratios exp(.3)=1.3499 → clipped 1.2; exp(−.05)=.9512; exp(.5)=1.6487 → 1.2; 1. A = 1.
    # Ratios exp(−.4)=.6703 → .8 binds for A<0; exp(.3)=1.3499; exp(1.5)=4.4817. A = −.5.
    first, second = losses(ClippedLoss(), batch())
    assert first == pytest.approx([-1.2, -0.951229, -1.2, -1.0], abs=2e-6)
    assert second == pytest.approx([0.4, 0.674929, 2.240845], abs=2e-6)


def test_clip_higher_moves_only_the_upper_bound() -> None:
    first, second = losses(ClippedLoss(clip_high=0.28), batch())
    assert first == pytest.approx([-1.28, -0.951229, -1.28, -1.0], abs=2e-6)
    assert second == pytest.approx([0.4, 0.674929, 2.240845], abs=2e-6)


def test_dual_clip_caps_only_negative_advantages() -> None:
    first, second = losses(ClippedLoss(dual_clip=3.0), batch())
    assert first == pytest.approx([-1.2, -0.951229, -1.2, -1.0], abs=2e-6)
    assert second == pytest.approx([0.4, 0.674929, 1.5], abs=2e-6)


def test_sequence_ratio_is_the_geometric_mean() -> None:
    # GSPO: s = exp(mean of .3, −.05, .5, 0) = exp(.1875) = 1.206230; exp(mean of −.4, .3, 1.5) = 1.594670.
    first, second = losses(ClippedLoss(ratio="sequence", clip_low=3e-4, clip_high=4e-4), batch())
    assert first == pytest.approx([-1.0004] * 4, abs=2e-6)
    assert second == pytest.approx([0.797335] * 3, abs=2e-6)


def test_turn_ratio_pools_each_turn_alone() -> None:
    # Turns of 1 and 3 tokens: exp(.3) and exp(mean of −.05, .5, 0) = exp(.15).
    first, _ = losses(ClippedLoss(ratio="turn", clip_high=9.0), batch([[1, 3], [3]]))
    assert first == pytest.approx([-1.349859, -1.161834, -1.161834, -1.161834], abs=2e-6)


def test_sequence_ratio_has_the_gradient_of_gspo() -> None:
    # d loss / d new on row 2 = s·|A|/n = 1.594670·.5/3 = .265778 per token, halved by B = 2.
    made = batch()
    new = made.current_logprobs.clone().requires_grad_()  # type: ignore[union-attr]
    values, _ = ClippedLoss(ratio="sequence", clip_low=3e-4, clip_high=4e-4)(new, made)
    weights = aggregate(made.action_mask, "sequence-mean", tokens=torch.tensor(7), rows=torch.tensor(2))
    (values * weights).sum().backward()
    assert new.grad is not None
    assert new.grad[1][made.action_mask[1]].tolist() == pytest.approx([0.132889] * 3, abs=2e-6)
    assert new.grad[0].abs().max() == 0  # clipped


def test_a_pooled_ratio_moves_each_token_by_its_own_advantage() -> None:
    # GSPO-token: the value is the unit's, the gradient the token's; a token without advantage is not moved.
    made = replace(batch(), old_logprobs=None)
    advantages = torch.zeros_like(made.sampling_logprobs)
    advantages[0, 2] = 1.0  # the first action token of row 1 stands behind the prompt of two
    new = made.current_logprobs.clone().requires_grad_()  # type: ignore[union-attr]
    values, _ = ClippedLoss(ratio="sequence")(new, replace(made, advantages=advantages))
    values.sum().backward()
    assert new.grad is not None
    torch.testing.assert_close(new.grad, -advantages)


@pytest.mark.parametrize(
    ("mode", "plain", "higher", "dual"),
    [
        ("token-mean", -0.147922, -0.170779, -0.276614),
        ("sequence-mean", 0.008725, -0.011275, -0.134749),
        ("constant", -0.103546, -0.119546, -0.193630),
    ],
)
def test_aggregations(mode: Aggregation, plain: float, higher: float, dual: float) -> None:
    made = batch()
    weights = aggregate(made.action_mask, mode, tokens=torch.tensor(7), rows=torch.tensor(2), constant=5)
    cases = {
        plain: ClippedLoss(),
        higher: ClippedLoss(clip_high=0.28),
        dual: ClippedLoss(clip_high=0.28, dual_clip=3.0),
    }
    for expected, loss in cases.items():
        values, _ = loss(made.current_logprobs, made)  # type: ignore[arg-type]
        assert (values * weights).sum().item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("mode", ["token-mean", "sequence-mean"])
def test_a_row_without_tokens_does_not_change_the_loss(mode: Aggregation) -> None:
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    weights = aggregate(mask, mode, tokens=torch.tensor(3), rows=torch.tensor(2))
    assert weights.sum().item() == pytest.approx(1.0)
    assert not weights[2].any()


def test_without_old_logprobs_the_ratio_is_one_and_its_gradient_is_the_advantage() -> None:
    made = replace(batch(), old_logprobs=None)
    new = made.current_logprobs.clone().requires_grad_()  # type: ignore[union-attr]
    values, metrics = ClippedLoss()(new, made)
    values.sum().backward()
    assert (metrics["ratio"][made.action_mask] == 1).all()
    torch.testing.assert_close(new.grad, -made.advantages)  # type: ignore[arg-type]


def test_tokens_off_the_mask_get_no_gradient_even_when_they_are_not_finite() -> None:
    made = batch()
    wild = torch.where(made.action_mask, made.current_logprobs, torch.tensor(float("inf")))  # type: ignore[arg-type]
    new = wild.requires_grad_()
    values, _ = ClippedLoss()(new, made)
    values.sum().backward()
    assert new.grad is not None
    assert not new.grad[~made.action_mask].any()
    assert values.isfinite().all()


def test_clip_scale_widens_the_range_of_its_tokens_alone() -> None:
    made = batch()
    scale = torch.ones_like(made.advantages)  # type: ignore[arg-type]
    scale[0, 2] = 2.0  # the first action token of row 1 stands behind the prompt of two
    first, _ = losses(ClippedLoss(), replace(made, clip_scale=scale))
    # min(1.349859, 1 + 2·.2 = 1.4) = 1.349859; the third token keeps 1.2.
    assert first == pytest.approx([-1.349859, -0.951229, -1.2, -1.0], abs=2e-6)


def one_token(ratio: float, advantage: float, loss: ClippedLoss) -> tuple[float, float]:
    """Loss, and its derivative by the log-prob."""
    made = rollouts([[1]], rewards=[0], old_logprobs=[[0.0]], current_logprobs=[[math.log(ratio)]])
    assert made.current_logprobs is not None
    new = made.current_logprobs.requires_grad_()
    values, _ = loss(new, replace(made, advantages=advantage * made.action_mask))
    values.sum().backward()
    assert new.grad is not None
    return values.sum().item(), new.grad.sum().item()


CORNERS = [(1.5, 1), (1.5, -1), (0.5, 1), (0.5, -1)]


def test_plain_clipping_takes_the_gradient_on_both_sides() -> None:
    # dl/dlog π = −r·A where the range does not bind: 1.5 and −.5.
    gradients = [one_token(ratio, advantage, ClippedLoss())[1] for ratio, advantage in CORNERS]
    assert gradients == pytest.approx([0, 1.5, -0.5, 0])


def test_keep_gradient_gives_it_back_above_the_range() -> None:
    # AEPO: the upper bound is (1 + ε)/sg(r)·r, whose gradient is that of log π times −(1 + ε)·A = −1.2.
    gradients = [one_token(ratio, advantage, ClippedLoss(keep_gradient=True))[1] for ratio, advantage in CORNERS]
    assert gradients == pytest.approx([-1.2, 1.5, -0.5, 0])


@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
def test_keep_gradient_never_changes_the_value(ratio: Literal["token", "turn", "sequence"]) -> None:
    made = batch()
    plain, _ = ClippedLoss(clip_high=0.1, ratio=ratio)(made.current_logprobs, made)  # type: ignore[arg-type]
    kept, _ = ClippedLoss(clip_high=0.1, ratio=ratio, keep_gradient=True)(made.current_logprobs, made)  # type: ignore[arg-type]
    torch.testing.assert_close(kept, plain)


def test_a_kept_gradient_does_not_count_as_clipped() -> None:
    # Of the corners (1.5, 1), (1.5, −1), (.5, 1), (.5, −1) plain clipping takes the gradient of the first and last.
    def clipped(loss: ClippedLoss) -> list[float]:
        made = rollouts([[1]] * 4, [0.0] * 4, old_logprobs=[[0.0]] * 4)
        advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None] * made.action_mask
        new = torch.tensor([1.5, 1.5, 0.5, 0.5]).log()[:, None] * made.action_mask
        _, metrics = loss(new, replace(made, advantages=advantages, loss_mask=made.action_mask))
        return metrics["clip_fraction"][made.action_mask].tolist()

    assert clipped(ClippedLoss()) == [1, 0, 0, 1]
    assert clipped(ClippedLoss(keep_gradient=True)) == [0, 0, 0, 1]


@pytest.mark.parametrize("options", [{"clip_low": 1.5}, {"clip_high": -0.1}, {"dual_clip": 0.5}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        ClippedLoss(**options)  # type: ignore[arg-type]


def test_constant_aggregation_needs_its_divisor() -> None:
    with pytest.raises(ValueError, match="aggregation_constant"):
        aggregate(torch.ones(1, 1, dtype=torch.bool), "constant", tokens=torch.tensor(1), rows=torch.tensor(1))
