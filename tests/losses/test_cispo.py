"""CISPO: values of published arrays, and gradients, which are what matters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_agentrl.losses.base import Aggregation, PolicyLoss, aggregate
from lightning_agentrl.losses.cispo import CISPOLoss
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

OLD = [[-1, -0.5, -2, -0.2], [-0.7, -1.2, -3]]
NEW = [[-0.7, -0.55, -1.5, -0.2], [-1.1, -0.9, -1.5]]


def batch() -> RolloutBatch:
    made = rollouts([[4], [3]], rewards=[1, -0.5], old_logprobs=OLD, current_logprobs=NEW)
    advantages = torch.tensor([[1.0], [-0.5]]) * made.action_mask
    return replace(made, advantages=advantages, loss_mask=made.action_mask)


def weights(made: RolloutBatch, mode: Aggregation = "token-mean") -> Tensor:
    return aggregate(made.trainable, mode, tokens=torch.tensor(7), rows=torch.tensor(2), constant=5)


def gradient(loss: PolicyLoss, made: RolloutBatch, weight: Tensor | float = 1.0) -> Tensor:
    assert made.current_logprobs is not None
    new = made.current_logprobs.clone().requires_grad_()
    values, _ = loss(new, made)
    (found,) = torch.autograd.grad((values * weight).sum(), new)
    return found


@pytest.mark.parametrize(
    ("loss", "mean"),
    [
        # Ratios 1.349859, .951229, 1.648721, 1 and .670320, 1.349859, 4.481689, none above 5: the sum of −r·A·new is
        # .944901 + .523176 + 2.473082 + .2 − .368676 − .607437 − 3.361267 = −.19622, divided by 7.
        (CISPOLoss(), -0.028031),
        # Weights 1.28, .951229, 1.28, 1 and .8, 1.28, 1.28: .896 + .523176 + 1.92 + .2 − .44 − .576 − .96 = 1.563176.
        (CISPOLoss(ratio_low=0.8, ratio_high=1.28), 0.223311),
    ],
)
def test_token_mean_of_published_arrays(loss: CISPOLoss, mean: float) -> None:
    made = batch()
    values, _ = loss(made.current_logprobs, made)  # type: ignore[arg-type]
    assert (values * weights(made)).sum().item() == pytest.approx(mean, abs=2e-6)  # printed with 6 digits


def test_the_gradient_of_a_token_is_its_clipped_ratio_times_its_advantage() -> None:
    # −[1.28, .951229, 1.28, 1]·1 and −[.8, 1.28, 1.28]·(−.5).
    made = batch()
    first, second = gradient(CISPOLoss(ratio_low=0.8, ratio_high=1.28), made)
    assert first[made.action_mask[0]].tolist() == pytest.approx([-1.28, -0.951229, -1.28, -1.0])
    assert second[made.action_mask[1]].tolist() == pytest.approx([0.4, 0.64, 0.64])


def test_clipping_never_takes_a_gradient_away() -> None:
    made = batch()
    bounds = {"ratio_low": 0.99, "ratio_high": 1.01}
    assert (gradient(ClippedLoss(0.01, 0.01), made)[made.action_mask] == 0).sum() == 3  # where plain clipping does
    assert (gradient(CISPOLoss(**bounds), made)[made.action_mask] != 0).all()


@pytest.mark.parametrize("mode", ["token-mean", "sequence-mean", "constant"])
@pytest.mark.parametrize("loss", [ClippedLoss(), ClippedLoss(ratio="turn"), ClippedLoss(ratio="sequence"), CISPOLoss()])
@pytest.mark.parametrize("scored", [True, False], ids=["old log-probs", "no old log-probs"])
def test_all_losses_have_the_same_gradient_at_a_ratio_of_one(mode: Aggregation, loss: PolicyLoss, scored: bool) -> None:
    made = batch()
    made = replace(made, old_logprobs=made.current_logprobs if scored else None)
    assert made.advantages is not None
    torch.testing.assert_close(gradient(loss, made, weights(made, mode)), -made.advantages * weights(made, mode))


def test_tokens_off_the_mask_are_nothing_even_when_they_are_not_finite() -> None:
    made = batch()
    assert made.current_logprobs is not None
    wild = torch.where(made.action_mask, made.current_logprobs, torch.tensor(float("-inf")))
    values, metrics = CISPOLoss()(wild, made)
    assert not values[~made.action_mask].any()
    assert not gradient(CISPOLoss(), replace(made, current_logprobs=wild))[~made.action_mask].any()
    assert all(metric.isfinite().all() for metric in metrics.values())


def test_the_clip_fraction_counts_ratios_outside_the_bounds() -> None:
    made = batch()
    _, metrics = CISPOLoss(ratio_low=0.8, ratio_high=1.28)(made.current_logprobs, made)  # type: ignore[arg-type]
    assert metrics["clip_fraction"][made.action_mask].tolist() == [1, 0, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "options", [{"ratio_low": -0.1}, {"ratio_low": 1.0}, {"ratio_high": 1.0}, {"ratio_high": 0.28}]
)
def test_bounds_that_are_not_around_one_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="bound the ratio itself"):
        CISPOLoss(**options)
