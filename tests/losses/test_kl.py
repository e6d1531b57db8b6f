"""KL estimators: published values, and the gradient that each has in expectation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_agentrl.losses.base import aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.kl import KLEstimator, kl_estimate
from lightning_agentrl.testing import rollouts

# d = log π_ref − log π of two rows.
D = torch.tensor([[0.2, -0.1, 0, 0.05], [0, 0.3, -0.4, 0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])
NEW = torch.tensor([[-0.7, -0.55, -1.5, -0.2], [-1.1, -0.9, -1.5, 0]], dtype=torch.float64)
# e^d − d − 1: e^.2 − 1.2, e^−.1 − .9, 0, e^.05 − 1.05 and 0, e^.3 − 1.3, e^−.4 − .6.
K3 = [[0.021403, 0.004837, 0, 0.001271], [0, 0.049859, 0.070320, 0]]


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        ("k1", (-D).tolist()),
        ("k1+", (-D).tolist()),
        ("k2", [[0.02, 0.005, 0, 0.00125], [0, 0.045, 0.08, 0]]),
        ("k3", K3),
        ("k3+", K3),
    ],
)
def test_values(estimator: KLEstimator, value: list[list[float]]) -> None:
    # Printed with 6 digits.
    torch.testing.assert_close(kl_estimate(estimator, NEW, NEW + D), torch.tensor(value).double(), rtol=0, atol=1e-6)


def weighted(values: Tensor) -> float:
    weights = aggregate(MASK, "token-mean", tokens=torch.tensor(7), rows=torch.tensor(2))
    return float((values * weights).sum())


def test_the_token_mean_of_k3() -> None:
    # (.021403 + .004837 + .001271 + .049859 + .070320) / 7
    assert weighted(kl_estimate("k3", NEW, NEW + D)) == pytest.approx(0.021099, abs=1e-6)


def test_the_total_is_the_policy_loss_and_a_little_kl() -> None:
    # −.170779 of clipping at .2 / .28, and .01 · .021099.
    made = rollouts([[4], [3]], rewards=[1, -0.5], prompt=1)
    old = torch.tensor([[0, -1, -0.5, -2, -0.2], [0, -0.7, -1.2, -3, 0]], dtype=torch.float64)
    new = torch.cat([torch.zeros(2, 1), NEW], 1)
    advantages = torch.tensor([[1.0], [-0.5]]) * made.action_mask
    losses, _ = ClippedLoss(0.2, 0.28)(new, replace(made, old_logprobs=old, advantages=advantages))
    total = losses[:, 1:] + 0.01 * kl_estimate("k3", NEW, NEW + D)
    assert weighted(total) == pytest.approx(-0.170568, abs=1e-6)


# --- gradients, over the exact distribution of four tokens ------------------------------------------------------

LOGITS = torch.tensor([0.3, -1.2, 0.8, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([-0.4, 0.5, 0.2, 0.0], dtype=torch.float64).log_softmax(0)


def forward(logits: Tensor) -> Tensor:
    """KL(π ‖ π_ref), summed over the vocabulary."""
    own = logits.log_softmax(0)
    return (own.exp() * (own - REFERENCE)).sum()


def backward(logits: Tensor) -> Tensor:
    """KL(π_ref ‖ π), summed over the vocabulary."""
    return (REFERENCE.exp() * (REFERENCE - logits.log_softmax(0))).sum()


def exact(divergence: Callable[[Tensor], Tensor]) -> Tensor:
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(divergence(leaf), leaf)
    return gradient


def expected(estimator: KLEstimator) -> Tensor:
    """Σ_y π(y) · ∇ estimate(y): each token drawn as often as π draws it, the draw itself without gradient."""
    leaf = LOGITS.clone().requires_grad_()
    own = leaf.log_softmax(0)
    estimates = kl_estimate(estimator, own[None], REFERENCE[None])[0]
    (gradient,) = torch.autograd.grad((own.exp().detach() * estimates).sum(), leaf)
    return gradient


def test_k1_has_no_gradient_in_expectation() -> None:
    torch.testing.assert_close(expected("k1"), torch.zeros_like(LOGITS))


@pytest.mark.parametrize("estimator", ["k2", "k1+", "k3+"])
def test_the_gradient_is_that_of_the_kl_to_the_reference(estimator: KLEstimator) -> None:
    torch.testing.assert_close(expected(estimator), exact(forward))


def test_the_gradient_of_k3_is_that_of_the_kl_from_the_reference() -> None:
    torch.testing.assert_close(expected("k3"), exact(backward))


@pytest.mark.parametrize(("estimator", "divergence"), [("k2", forward), ("k3", backward)])
def test_a_finite_difference_gives_the_same(estimator: KLEstimator, divergence: Callable[[Tensor], Tensor]) -> None:
    steps = 1e-5 * torch.eye(4, dtype=torch.float64)
    slopes = torch.stack([(divergence(LOGITS + step) - divergence(LOGITS - step)) / 2e-5 for step in steps])
    # A central difference is off by about the third derivative times 1e-10, and by rounding, 1e-16 / 1e-5.
    torch.testing.assert_close(expected(estimator), slopes, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", ["k1", "k1+", "k3", "k3+"])
def test_the_expected_value_is_the_kl_to_the_reference(estimator: KLEstimator) -> None:
    own = LOGITS.log_softmax(0)
    values = kl_estimate(estimator, own[None], REFERENCE[None])[0]
    torch.testing.assert_close((own.exp() * values).sum(), forward(LOGITS))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k1+", "k3+"])
def test_a_hopeless_token_has_a_finite_kl(estimator: KLEstimator) -> None:
    new = torch.tensor([[-1000.0, 0.0]])
    assert kl_estimate(estimator, new, new.flip(1)).isfinite().all()
