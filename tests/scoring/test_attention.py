"""Which policies can compute prefix trees, and which masks they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DogeConfig,
    FalconConfig,
    FalconH1Config,
    GPT2Config,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3MoeConfig,
    StableLmConfig,
)

from lightning_agentrl.prefix_tree import TokenSequence, pack_trees
from lightning_agentrl.scoring.attention import PREFIX_TREE, attention_mask, obstacle, prefer_block_attention

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
WIDE: dict[str, Any] = {**SHAPE, "intermediate_size": 64, "num_key_value_heads": 1}


def built(config: PretrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Qwen3Config(**WIDE, use_sliding_window=True, sliding_window=8, max_window_layers=0), "sliding_attention"),
        (MistralConfig(**WIDE, sliding_window=8), "sliding_attention"),
        (Phi3Config(**WIDE, sliding_window=8), "sliding_attention"),
        (FalconH1Config(**WIDE), "recurrent"),
        (FalconConfig(**SHAPE, alibi=True), "no rotary positions"),
        (GPT2Config(**SHAPE), "no rotary positions"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_mask_and_positions_cannot_tell_is_an_obstacle(config: PretrainedConfig, reason: str) -> None:
    found = obstacle(built(config))
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(**WIDE),
        Qwen3MoeConfig(**WIDE),
        MistralConfig(**WIDE, sliding_window=None),
        Phi3Config(**WIDE, sliding_window=None),
        FalconConfig(**SHAPE, alibi=False),
    ],
    ids=lambda config: type(config).__name__,
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_full_attention_with_rotary_positions_is_none(config: PretrainedConfig, attention: str) -> None:
    policy = built(config)
    policy.set_attn_implementation(attention)
    assert obstacle(policy) is None


def test_a_policy_with_sdpa_gets_our_attention_and_keeps_it_to_itself(tmp_path: Path) -> None:
    policy = AutoModelForCausalLM.from_config(Qwen3Config(**WIDE))
    prefer_block_attention(policy)
    assert policy.config._attn_implementation == policy.base_model.config._attn_implementation == PREFIX_TREE
    policy.save_pretrained(tmp_path)
    assert PREFIX_TREE not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(
    ("config", "attention"),
    [
        (Qwen3Config(**WIDE, attn_implementation="eager"), "eager"),
        (MistralConfig(**WIDE, sliding_window=8), "sdpa"),  # sees no further than its window
        (StableLmConfig(**WIDE), "sdpa"),  # does not look up its attention by name
        (DogeConfig(**WIDE), "sdpa"),  # makes a mask of its own out of the one that it gets
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_policies_keep_their_attention(config: PretrainedConfig, attention: str) -> None:
    policy = AutoModelForCausalLM.from_config(config)
    prefer_block_attention(policy)
    assert policy.config._attn_implementation == attention


def test_attention_that_takes_no_mask_is_named() -> None:
    policy = built(Qwen3Config(**WIDE))
    policy.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in str(obstacle(policy))


def test_an_additive_mask_hides_what_the_boolean_one_hides() -> None:
    policy = AutoModelForCausalLM.from_config(Qwen3Config(**WIDE), dtype=torch.bfloat16)
    tokens = [torch.tensor(tokens) for tokens in ([1, 2, 3], [1, 4])]
    (trees,), _ = pack_trees([TokenSequence(one, torch.tensor([1])) for one in tokens])
    policy.set_attn_implementation("sdpa")
    mask = attention_mask(policy, trees)
    policy.set_attn_implementation("eager")
    added = attention_mask(policy, trees)
    assert added.dtype == torch.bfloat16
    assert torch.equal(added == 0, mask)
    assert not added.softmax(-1)[~mask].any()
