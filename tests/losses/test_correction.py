"""Importance correction: reference values of two rows, and what the weights must not do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.losses.base import aggregate
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.correction import ImportanceCorrection
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

OLD = [[-1, -0.5, -2, -0.2], [-0.7, -1.2, -3]]
NEW = [[-0.7, -0.55, -1.5, -0.2], [-1.1, -0.9, -1.5]]
ROLL = [[-1, -0.6, -2.9, -0.2], [-0.7, -1.2, -2.5]]
# log w = old − roll = 0, .1, .9, 0 and 0, 0, −.5.
RATIOS = [[1, 1.105171, 2.459603, 1], [1, 1, 0.606531]]


def batch(turns: list[list[int]] | None = None) -> RolloutBatch:
    made = rollouts(turns or [[4], [3]], [1, -0.5], old_logprobs=OLD, current_logprobs=NEW, sampling_logprobs=ROLL)
    advantages = torch.tensor([[1.0], [-0.5]]) * made.action_mask
    return replace(made, advantages=advantages, loss_mask=made.action_mask)


def weights(made: RolloutBatch | None = None, **options: Any) -> list[list[float]]:
    made = made or batch()
    found, _ = ImportanceCorrection(**options)(made.old_logprobs, made)  # type: ignore[arg-type]
    return [row[mask].tolist() for row, mask in zip(found, made.action_mask, strict=True)]


def near(rows: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, abs=2e-6) for row in rows]  # printed with 6 digits, computed in float32


def test_token_weights_are_ratios_cut_above() -> None:
    assert weights(high=9.0) == near(RATIOS)
    assert weights(high=2.0) == near([[1, 1.105171, 2, 1], [1, 1, 0.606531]])


def test_sequence_weights_are_products_over_the_row() -> None:
    # exp(0 + .1 + .9 + 0) = 2.718282 and exp(−.5) = .606531.
    assert weights(level="sequence", high=9.0) == near([[2.718282] * 4, [0.606531] * 3])
    assert weights(level="sequence", high=2.0) == near([[2] * 4, [0.606531] * 3])


def test_geometric_weights_are_means_over_the_row() -> None:
    # exp(1 / 4) and exp(−.5 / 3).
    assert weights(level="geometric") == near([[1.284025] * 4, [0.846482] * 3])


def test_turn_weights_are_geometric_means_of_each_turn() -> None:
    # Turns of 2 and 2 tokens: exp(.1 / 2), exp(.9 / 2); the other row has turns of 2 and 1: 1 and exp(−.5).
    found = weights(batch([[2, 2], [2, 1]]), level="turn")
    assert found == near([[1.051271] * 2 + [1.568312] * 2, [1, 1, 0.606531]])


def test_a_token_mask_drops_what_lies_outside_and_keeps_the_ratio_inside() -> None:
    # IcePop with [.5, 2].
    assert weights(mode="mask", low=0.5, high=2.0) == near([[1, 1.105171, 0, 1], [1, 1, 0.606531]])


@pytest.mark.parametrize(("high", "first"), [(3.0, 2.718282), (2.0, 0.0)])
def test_a_sequence_mask_drops_whole_rows(high: float, first: float) -> None:
    assert weights(level="sequence", mode="mask", high=high) == near([[first] * 4, [0.606531] * 3])


@pytest.mark.parametrize(
    ("low", "high", "kept"), [(0.9, 1.3, [1, 0]), (0.8, 1.2, [0, 1]), (0.8, 1.3, [1, 1]), (0.9, 1.2, [0, 0])]
)
def test_a_filter_keeps_rows_unweighted_or_drops_them(low: float, high: float, kept: list[int]) -> None:
    # Geometric means 1.284025 and .846482.
    found = weights(level="geometric", mode="filter", low=low, high=high)
    assert found == [[kept[0]] * 4, [kept[1]] * 3]


def test_the_corrected_token_mean() -> None:
    # −1.28·1 − .951229·1.105171 − 1.28·2 − 1 + .4 + .674929 + 2.240845·.606531 = −3.457202, divided by 7.
    made = batch()
    correction, _ = ImportanceCorrection()(made.old_logprobs, made)  # type: ignore[arg-type]
    losses, _ = ClippedLoss(0.2, 0.28)(made.current_logprobs, made)  # type: ignore[arg-type]
    share = aggregate(made.trainable, "token-mean", tokens=torch.tensor(7), rows=torch.tensor(2))
    assert (losses * correction * share).sum().item() == pytest.approx(-0.493886, abs=2e-6)


@pytest.mark.parametrize("mode", ["truncate", "mask", "filter"])
def test_metrics_hold_the_ratios_before_anything_was_cut(mode: Literal["truncate", "mask", "filter"]) -> None:
    made = batch()
    _, metrics = ImportanceCorrection(mode=mode)(made.old_logprobs, made)  # type: ignore[arg-type]
    raw = metrics["correction_ratio_raw"]
    assert [row[mask].tolist() for row, mask in zip(raw, made.action_mask, strict=True)] == near(RATIOS)


def test_metrics_say_what_was_cut_on_either_side() -> None:
    made = batch()
    _, metrics = ImportanceCorrection(mode="mask", low=0.7)(made.old_logprobs, made)  # type: ignore[arg-type]
    assert metrics["correction_cut_share"][made.action_mask].tolist() == [0, 0, 1, 0, 0, 0, 1]


def test_no_gradient_flows_through_the_weights() -> None:
    made = batch()
    correction, metrics = ImportanceCorrection()(made.old_logprobs.requires_grad_(), made)  # type: ignore[union-attr]
    assert not correction.requires_grad
    assert not any(metric.requires_grad for metric in metrics.values())


@pytest.mark.parametrize("level", ["token", "turn", "sequence", "geometric"])
@pytest.mark.parametrize("mode", ["truncate", "mask", "filter"])
def test_engines_that_agree_with_the_trainer_are_not_corrected(level: Any, mode: Any) -> None:
    made = batch([[2, 2], [2, 1]])
    low = 0.0 if mode == "truncate" else 0.9
    found, _ = ImportanceCorrection(level, mode, 1.1, low)(made.sampling_logprobs, made)
    assert torch.equal(found, torch.ones_like(found))


def test_untrained_tokens_have_no_part_in_a_row_and_weight_one() -> None:
    # Without the third token, whose log-ratio is .9, the first row is exp(0 + .1 + 0) = 1.105171.
    made = batch()
    off = made.action_mask.clone()
    off[0, 4] = False  # the third action token stands behind the prompt of two
    masked = replace(made, loss_mask=off, sampling_logprobs=made.sampling_logprobs.masked_fill(~off, float("nan")))
    found = weights(masked, level="sequence")
    assert found == near([[1.105171, 1.105171, 1, 1.105171], [0.606531] * 3])


def test_ratios_beyond_every_float_stay_finite() -> None:
    made = batch()
    far = made.sampling_logprobs + torch.tensor([[500.0], [-500.0]]) * made.action_mask
    _, metrics = ImportanceCorrection(level="sequence")(far, made)
    assert metrics["correction_ratio_raw"].isfinite().all()


@MANY
@given(batch=batches(), level=st.sampled_from(["token", "turn", "sequence", "geometric"]))
def test_ratios_are_those_of_a_loop(batch: RolloutBatch, level: Any) -> None:
    made = replace(batch, loss_mask=batch.action_mask & (batch.entropies > 0.2))  # type: ignore[operator]
    logs = made.current_logprobs - made.sampling_logprobs  # type: ignore[operator]
    expected = torch.ones_like(logs)
    for n, t in made.trainable.nonzero().tolist():
        near_it = torch.arange(logs.shape[1]) == t if level == "token" else made.trainable[n]
        if level == "turn":
            near_it = near_it & (made.turn_ids[n] == made.turn_ids[n, t])
        pooled = logs[n, near_it].sum() if level == "sequence" else logs[n, near_it].mean()
        expected[n, t] = pooled.exp()
    found, _ = ImportanceCorrection(level, high=1e6)(made.current_logprobs, made)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"high": 1.0}, "high > 1"),
        ({"mode": "mask", "low": -0.1}, r"low in \[0, 1\]"),
        ({"mode": "filter", "low": 1.1}, r"low in \[0, 1\]"),
        ({"low": 0.5}, "mode=mask or filter only"),  # truncation has no lower bound
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ImportanceCorrection(**options)
