"""The head: chunks change nothing, and policies that do more to their logits are told from those that do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from tree_batches import tree_batch

from lightning_agentrl.scoring import head as head_module
from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.head import head_scores, plain_head

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


def cohere() -> PreTrainedModel:
    return CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.25))


def granite() -> PreTrainedModel:
    return GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=4.0))


def gemma2() -> PreTrainedModel:
    kinds = ["full_attention"] * 2
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, layer_types=kinds, final_logit_softcapping=0.5))


def qwen3() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**SHAPE))


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def lora() -> nn.Module:
    """Its adapters wrap the whole policy, so that what PEFT calls the base model has a head."""
    return get_peft_model(qwen3(), LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))


class Halved(Qwen3ForCausalLM):
    """Scales the last hidden state before the head, as MiniCPM does."""

    def forward(self, logits_to_keep: int | Tensor = 0, **inputs: Any) -> CausalLMOutputWithPast:
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(logits=self.lm_head(self.model(**inputs)[0][:, kept] / 2))


def halved() -> PreTrainedModel:
    return Halved(Qwen3Config(**SHAPE))


@pytest.mark.parametrize("make", [cohere, granite, gemma2, halved, lora])
def test_policies_that_do_more_than_their_head_are_recognised(make: Any) -> None:
    assert not plain_head(make())


@pytest.mark.parametrize("make", [qwen3, llama])
def test_policies_that_leave_logits_alone_are_recognised(make: Any) -> None:
    assert plain_head(make())


def test_looking_at_a_policy_leaves_it_as_it_was() -> None:
    policy = qwen3()
    ids = torch.arange(4)[None]
    before = policy(input_ids=ids).logits
    plain_head(policy)
    assert torch.equal(policy(input_ids=ids).logits, before)


@pytest.mark.parametrize("max_tokens", [None, 40])
@pytest.mark.parametrize("make", [cohere, granite, gemma2, halved, lora, llama])
def test_scores_are_right_whatever_a_policy_does_to_its_logits(make: Any, max_tokens: int | None) -> None:
    policy, batch = make(), tree_batch(6)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(4)
        found = score(policy, batch, temperature=0.7, entropies=True, answers=True, max_tokens=max_tokens, trees=True)
        expected = score(policy, batch, temperature=0.7, entropies=True, answers=True, trees=False)
    for one, other in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_chunks_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (rows,), generator=generator)
    head = nn.Linear(8, 50)

    def outcome(chunk: int) -> list[Tensor]:
        monkeypatch.setattr(head_module, "CHUNK", chunk)
        values, entropies = head_scores(head, hidden, targets, 0.5, entropies=True)
        return [values, entropies, *torch.autograd.grad(values.square().sum(), [hidden, head.weight])]

    for one, other in zip(outcome(100), outcome(10**6), strict=True):
        torch.testing.assert_close(one, other)
