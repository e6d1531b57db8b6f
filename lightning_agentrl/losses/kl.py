"""Estimators of the KL divergence from the policy to a reference, and the gradients that they have as a loss."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3", "k1+", "k3+"]
LIMIT = 10.0
"""d is held in ±10 nats: beyond, e^d would let one hopeless token drown a batch."""


def kl_estimate(
    estimator: KLEstimator, logprobs: Float[Tensor, "N T"], reference: Float[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """KL(π ‖ π_ref) per token, from a token that π sampled; d = log π_ref − log π.

    =====  ===============  =====================================================================================
    name   value            gradient of the expectation, as a loss on samples of π
    =====  ===============  =====================================================================================
    k1     −d               0: right as a reward, useless as a loss
    k2     d² / 2           that of KL(π ‖ π_ref); the value is biased
    k3     e^d − d − 1      that of KL(π_ref ‖ π); unbiased value, never negative (the papers' "low variance" KL)
    k1+    −d               k2's (straight-through): unbiased value and right gradient
    k3+    e^d − d − 1      k2's (straight-through): unbiased value, never negative, and right gradient
    =====  ===============  =====================================================================================
    """
    d = (reference - logprobs).clamp(-LIMIT, LIMIT)
    values = {"k1": -d, "k2": d.square() / 2, "k3": d.exp() - d - 1}
    value = values[estimator.removesuffix("+")]
    if estimator.endswith("+"):
        carrier = values["k2"]
        return value.detach() + carrier - carrier.detach()
    return value
