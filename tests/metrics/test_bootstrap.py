"""Confidence intervals over prompts."""

from __future__ import annotations

import pytest
import torch

from lightning_agentrl.metrics import Bootstrap


def coverage(interval: float) -> float:
    """How often an interval holds the true mean of 30 prompts with four rollouts each."""
    generator = torch.Generator().manual_seed(1)
    hits = 0
    for _ in range(300):
        hard = torch.rand(30, generator=generator) < 0.5  # succeeds with 0.2, else with 0.8: 0.5 on average
        rates = torch.where(hard, 0.2, 0.8)[:, None].expand(-1, 4)
        means = torch.bernoulli(rates, generator=generator).double().mean(1)
        low, high = Bootstrap(interval, resamples=200).bounds(means)
        hits += bool(low <= 0.5 <= high)
    return hits / 300


@pytest.mark.parametrize(("interval", "expected"), [(0.95, 0.936), (0.5, 0.487)])
def test_an_interval_holds_the_truth_as_often_as_it_says(interval, expected):
    # The percentile interval of 30 prompts is a little short: P(|t_29| < z √(29/30)) with z the normal quantile.
    # Four standard errors of a share of 300.
    assert coverage(interval) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 300) ** 0.5)


def test_more_prompts_make_it_narrower():
    few, many = torch.tensor([0.0, 1.0] * 5), torch.tensor([0.0, 1.0] * 500)
    widths = [float(high - low) for low, high in (Bootstrap().bounds(few), Bootstrap().bounds(many))]
    assert widths[1] < widths[0] / 5  # √100 = 10, within the noise of 1000 resamples


def test_it_holds_the_mean():
    values = torch.tensor([0.0, 0.25, 1.0])
    low, high = Bootstrap().bounds(values)
    assert low < values.mean() < high


def test_draws_depend_on_the_seed_alone():
    values = torch.rand(40, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = Bootstrap().bounds(values)
    torch.manual_seed(2)
    assert Bootstrap().bounds(values) == first
    assert Bootstrap(seed=1).bounds(values) != first


def test_global_randomness_is_left_alone():
    before = torch.get_rng_state()
    Bootstrap().bounds(torch.tensor([0.0, 1.0]))
    assert torch.equal(torch.get_rng_state(), before)


def test_many_prompts_are_drawn_in_parts(monkeypatch):
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = Bootstrap(resamples=100).bounds(values)
    monkeypatch.setattr("lightning_agentrl.metrics.bootstrap.CHUNK", 50 * 7)
    torch.testing.assert_close(Bootstrap(resamples=100).bounds(values), whole)


@pytest.mark.parametrize("bootstrap", [Bootstrap(), Bootstrap(resamples=0)])
def test_one_prompt_or_no_resamples_give_a_mean_without_an_interval(bootstrap):
    count = 1 if bootstrap.resamples else 5
    assert bootstrap.named("pass@1", torch.ones(count)) == {"pass@1": 1}


@pytest.mark.parametrize("settings", [{"interval": 1.0}, {"interval": 0.0}, {"resamples": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Bootstrap needs"):
        Bootstrap(**settings)
