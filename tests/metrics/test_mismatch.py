"""How far engine and trainer are apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from metric_cases import credited, measured

from lightning_agentrl.losses.kl import kl_estimate
from lightning_agentrl.metrics import EngineMismatch
from lightning_agentrl.testing import rollouts


def gap(*d: float, **settings):
    """One rollout whose log-probs differ by d from the engine's −1."""
    return rollouts([[len(d)]], [1], old_logprobs=[[-1 + each for each in d]], **settings)


def test_estimates_follow_their_formulas():
    found = measured(EngineMismatch(), gap(0.5, -0.25))
    assert found["engine/kl_k1"] == pytest.approx(-0.125)
    assert found["engine/kl_k3"] == pytest.approx((math.exp(0.5) - 1.5 + math.exp(-0.25) - 0.75) / 2)
    assert found["engine/logprob_gap"] == 0.375
    assert found["engine/logprob_gap_max"] == 0.5


def test_they_are_those_of_the_loss():
    batch = credited(0, 5)
    found = measured(EngineMismatch(), batch)
    for estimator in ("k1", "k3"):
        values = kl_estimate(estimator, batch.sampling_logprobs, batch.old_logprobs)[batch.action_mask]
        assert found[f"engine/kl_{estimator}"] == pytest.approx(float(values.mean()), rel=1e-5)  # of float32 there


def test_a_good_engine_is_not_lost_in_rounding():
    batch = gap(0.0)
    # 3e-6, exact beside −1. In float32 e^d − 1 − d = 4e-12 would be a multiple of 2e-13.
    trainer = torch.where(batch.action_mask, batch.sampling_logprobs + 50 * 2.0**-24, 0)
    d = float((trainer - batch.sampling_logprobs)[batch.action_mask])
    found = measured(EngineMismatch(), replace(batch, old_logprobs=trainer))
    assert found["engine/kl_k3"] == pytest.approx(d * d / 2, rel=1e-5, abs=0)


def test_each_token_counts_once_whatever_its_row():
    short, long = gap(0.3), gap(0.0, 0.0)
    assert measured(EngineMismatch(), short, long)["engine/kl_k1"] == pytest.approx(-0.1)


def test_only_action_tokens_count():
    batch = gap(0.0, 0.0)
    noisy = torch.where(batch.action_mask, batch.old_logprobs, 7.0)
    assert measured(EngineMismatch(), replace(batch, old_logprobs=noisy))["engine/logprob_gap_max"] == 0.0


def test_what_a_branch_inherited_counts_once():
    root_and_branch = rollouts(
        [[2, 1], [2, 1]],
        [1, 0],
        parents=[-1, 0],
        inherited=[0, 6],  # prompt 2, turn 2, observation 2
        old_logprobs=[[-1.4, -1.4, -1.0], [-1.4, -1.4, -1.0]],
    )
    assert measured(EngineMismatch(), root_and_branch)["engine/kl_k1"] == pytest.approx(0.2)  # 0.8 of 4 tokens


def test_the_policy_at_collection_comes_before_the_present_one():
    batch = rollouts([[1]], [1], old_logprobs=[[-1.0]], current_logprobs=[[-2.0]])
    assert measured(EngineMismatch(), batch)["engine/logprob_gap"] == 0.0
    present = replace(batch, old_logprobs=None)
    assert measured(EngineMismatch(), present)["engine/logprob_gap"] == 1.0


def test_a_number_that_is_none_is_counted_and_hides_nothing():
    found = measured(EngineMismatch(), gap(0.5, math.nan, -math.inf))
    assert found["engine/nonfinite_tokens"] == 2
    assert found["engine/logprob_gap_max"] == 0.5


def test_without_a_trainer_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="old_logprobs or current_logprobs"):
        EngineMismatch().update(rollouts([[1]], [1]))
