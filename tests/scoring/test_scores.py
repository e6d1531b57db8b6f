"""Log-probs and entropies against the plainest forward there is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.scores import _told
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def ragged() -> RolloutBatch:
    """Four siblings with a prompt of five tokens."""
    batch = rollouts([[3, 2], [1], [4, 1, 2], [2]], rewards=[0.0] * 4, prompt=5)
    ids = torch.randint(0, 300, batch.input_ids.shape, generator=torch.Generator().manual_seed(0))
    ids[:, :5] = ids[0, :5]
    return replace(batch, input_ids=ids)


def windowed() -> nn.Module:
    """A policy whose tokens see the last four alone."""
    window: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    small: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 16}
    return Qwen3ForCausalLM(
        Qwen3Config(vocab_size=320, num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, **small, **window)
    )


def reference(policy: nn.Module, batch: RolloutBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One unpadded row at a time, one token at a time."""
    logprobs, entropies = torch.zeros(batch.input_ids.shape), torch.zeros(batch.input_ids.shape)
    for row in range(len(batch)):
        length = int(batch.attention_mask[row].sum())
        logits = policy(input_ids=batch.input_ids[row : row + 1, :length]).logits[0] / temperature
        for column in batch.action_mask[row].nonzero()[:, 0].tolist():
            distribution = torch.distributions.Categorical(logits=logits[column - 1])
            logprobs[row, column] = distribution.log_prob(batch.input_ids[row, column])
            entropies[row, column] = distribution.entropy()
    return logprobs, entropies


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("max_tokens", [None, 25, 1])
def test_scores_equal_the_loop(policy: nn.Module, temperature: float, max_tokens: int | None, trees: bool) -> None:
    batch = ragged()
    with torch.no_grad():
        scores = score(policy, batch, temperature=temperature, entropies=True, max_tokens=max_tokens, trees=trees)
        logprobs, entropies = reference(policy, batch, temperature)
    torch.testing.assert_close(scores.logprobs, logprobs, rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.entropies, entropies, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
def test_several_forwards_give_the_same_gradient(policy: nn.Module, trees: bool) -> None:
    def gradient(max_tokens: int | None) -> torch.Tensor:
        policy.zero_grad()
        score(policy, ragged(), temperature=1.0, max_tokens=max_tokens, trees=trees).logprobs.sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    whole, chunked = gradient(None), gradient(20)
    assert (whole - chunked).norm() <= 1e-5 * whole.norm()


def test_nothing_is_computed_unless_asked_for(policy: nn.Module) -> None:
    scores = score(policy, ragged(), temperature=1.0)
    assert scores.entropies is None
    assert scores.answer_logprobs is None


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
@pytest.mark.parametrize("max_tokens", [None, 20])
def test_a_batch_without_action_tokens_still_gives_every_weight_a_gradient(
    policy: nn.Module, trees: bool, max_tokens: int | None
) -> None:
    batch = replace(ragged(), action_mask=torch.zeros_like(ragged().action_mask))
    logprobs = score(policy, batch, temperature=1.0, trees=trees, max_tokens=max_tokens).logprobs
    logprobs.sum().backward()
    assert not logprobs.any()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_a_row_without_tokens_is_no_obstacle(policy: nn.Module) -> None:
    batch = ragged()
    empty = torch.zeros_like(batch.action_mask)
    hollow = replace(batch, action_mask=empty, attention_mask=empty).select(torch.tensor([0]))
    assert not score(policy, hollow, temperature=1.0).logprobs.any()


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
def test_the_load_says_what_was_shared(policy: nn.Module, trees: bool) -> None:
    # Rows of 5 + 3 + 2 + 2, 5 + 1, 5 + 4 + 2 + 1 + 2 + 2 and 5 + 2 tokens: 41, of which 3 × 5 repeat the prompt.
    batch = ragged()
    load = score(policy, batch, temperature=1.0, trees=trees).load
    assert (load.tokens, load.distinct) == (41, 26)
    assert load.computed == (26 if trees else batch.input_ids.numel())


def test_a_policy_without_trees_says_so_once_with_reason_and_cost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _told.clear()
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        for _ in range(2):
            score(windowed(), ragged(), temperature=1.0)
    (record,) = caplog.records
    assert "sliding_attention" in record.message
    assert "64 tokens in this batch, where prefix trees have 26, a factor of 2.5" in record.message


def test_trees_are_refused_by_name_where_they_would_be_wrong() -> None:
    with pytest.raises(ValueError, match="sliding_attention"):
        score(windowed(), ragged(), temperature=1.0, trees=True)
