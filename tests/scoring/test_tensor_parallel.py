"""How ranks slice a policy, read off its names and shapes. That slices compute the same, `e2e/test_ranks.py` shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel

from lightning_agentrl.prefix_tree import TokenSequence
from lightning_agentrl.scoring.tensor_parallel import Replicated, heard_by_all, of_team, plan, team

SHAPE = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 48}


def policy(kind: str, **settings: Any) -> transformers.PreTrainedModel:
    """Without memory."""
    config = getattr(transformers, kind)(**{"num_hidden_layers": 2, "vocab_size": 33, **SHAPE, **settings})
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def styles(kind: str, **settings: Any) -> dict[str, ParallelStyle]:
    return plan(policy(kind, **settings), 2)


@pytest.mark.parametrize("kind", ["LlamaConfig", "MistralConfig", "Qwen2Config", "Qwen3Config", "Gemma3TextConfig"])
def test_every_parameter_has_its_style(kind: str) -> None:
    network, found = policy(kind), styles(kind)
    holders = {
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    }
    assert found.keys() == holders
    layer = "model.layers.1."
    assert type(found[layer + "self_attn.k_proj"]) is type(found["lm_head"]) is ColwiseParallel
    assert type(found[layer + "mlp.down_proj"]) is type(found["model.embed_tokens"]) is RowwiseParallel
    assert type(found[layer + "input_layernorm"]) is type(found["model.norm"]) is Replicated


def test_norms_of_heads_see_slices_and_other_norms_do_not() -> None:
    found: dict[str, Any] = styles("Qwen3Config")
    assert found["model.layers.0.self_attn.q_norm"].layout[0].is_shard()
    assert found["model.layers.0.post_attention_layernorm"].layout[0].is_replicate()


def test_a_plan_that_gathers_between_layers_is_followed() -> None:
    """Queries, keys and values come out of one layer, which is why its output is not left in slices."""
    found: dict[str, Any] = styles("Phi3Config", pad_token_id=0)
    assert found["model.layers.0.self_attn.qkv_proj"].output_layouts[0].is_replicate()
    assert found["model.layers.0.self_attn.o_proj"].input_layouts[0].is_replicate()
    assert type(styles("Olmo2Config")["model.layers.0.self_attn.q_norm"]) is Replicated


@pytest.mark.parametrize(
    ("kind", "settings", "complaint"),
    [
        ("GPT2Config", {"n_embd": 32, "n_head": 4}, "GPT2LMHeadModel has no plan for tensor parallelism"),
        ("GptOssConfig", {"head_dim": 8}, "GptOssForCausalLM has no plan for tensor parallelism of its layers"),
        ("Qwen3MoeConfig", {}, "asks for moe_tp_experts, packed_colwise, known are colwise"),
        ("Qwen3Config", {"num_key_value_heads": 1}, "1 key-value heads, which 2 ranks"),
        ("Qwen3Config", {"num_attention_heads": 3, "num_key_value_heads": 3}, "3 attention heads, which 2 ranks"),
        ("LlamaConfig", {"intermediate_size": 49}, "layers.0.mlp.gate_proj has 49 units, which 2 ranks"),
    ],
)
def test_what_cannot_be_sliced_is_refused(kind: str, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        styles(kind, **settings)


def test_a_parameter_amidst_slices_that_the_plan_forgets_is_refused() -> None:
    """Each member would get the gradients of its own slice, and nobody would add them up."""
    network = policy("LlamaConfig")
    network.model.layers[0].self_attn.norm = nn.LayerNorm(8, device="meta")
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.norm holds parameters amidst"):
        plan(network, 2)
    network = policy("LlamaConfig")
    network.model.layers[0].self_attn.sink = nn.Parameter(torch.zeros(4, device="meta"))
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn holds parameters amidst"):
        plan(network, 2)


def test_a_policy_of_one_rank_has_no_team() -> None:
    assert team(nn.Linear(2, 2)) is None
    sequences = [TokenSequence(torch.tensor([1, 2]), torch.tensor([1]))]
    assert of_team(sequences, None) == (sequences, slice(None))
    values = torch.ones(3, requires_grad=True)
    assert heard_by_all(values, None) is values
