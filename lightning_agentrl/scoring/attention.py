"""Which policies can compute prefix trees, and how each attention implementation is told who sees whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_agentrl.prefix_tree import PackedTrees
from lightning_agentrl.scoring.block_attention import block_attention, was_understood

PREFIX_TREE = "prefix_tree"
"""Name under which Hugging Face models find our attention."""


class Form(NamedTuple):
    """The mask that an attention implementation takes."""

    mask: Callable[[PackedTrees, torch.dtype], Any]
    sparse: bool
    """Whether hidden tokens cost (almost) nothing, so that a row may be as long as it likes."""


def obstacle(policy: nn.Module) -> str | None:
    """Why the policy cannot compute prefix trees, or None where it can.

    In a tree a token's neighbour in the row is not always the token before it. So every layer must see through the mask
    alone, which is handed in whole, and must know positions by the position ids alone.
    """
    config: Any = policy.config
    settings = config.to_dict()
    kinds = set(settings.get("layer_types") or ["full_attention"]) - {"full_attention"}
    if settings.get("sliding_window") and "layer_types" not in settings:
        kinds = {"sliding_attention"}
    name, attention = type(policy).__name__, config._attn_implementation
    if attention not in FORMS:
        return f"attn_implementation={attention} takes no mask of its caller's ({', '.join(FORMS)} do)"
    if kinds or policy._is_stateful:
        return f"{name} has layers of another kind ({', '.join(sorted(kinds)) or 'recurrent'})"
    if not settings.get("rope_parameters") or settings.get("alibi"):
        return f"{name} has no rotary positions"
    return None


def prefer_block_attention(policy: Any) -> None:
    """Give a policy that attends through SDPA our attention for prefix trees; all other masks go to SDPA as before.

    Unless the policy does something to a mask on its way to the layers: a forward of one token shows that.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    sdpa = policy.config._attn_implementation == "sdpa" and policy._supports_attention_backend
    if sdpa and obstacle(policy) is None:
        AttentionInterface.register(PREFIX_TREE, block_attention)
        AttentionMaskInterface.register(PREFIX_TREE, sdpa_mask)
        policy.set_attn_implementation(PREFIX_TREE)
        token = torch.zeros(1, 1, dtype=torch.int64, device=policy.device)
        ends = torch.ones(1, 1, 1, 1, dtype=torch.int64, device=policy.device)
        with torch.no_grad():
            policy.base_model(input_ids=token, attention_mask=ends, use_cache=False)
        if not was_understood(ends):
            policy.set_attn_implementation("sdpa")


def form(policy: nn.Module) -> Form:
    """The mask that the policy's attention takes."""
    config: Any = policy.config
    return FORMS[config._attn_implementation]


def attention_mask(policy: nn.Module, trees: PackedTrees) -> Any:
    """Who sees whom. Four dimensions, so that Hugging Face models hand it through to their attention as it is."""
    return form(policy).mask(trees, next(policy.parameters()).dtype)


def _ends(trees: PackedTrees, dtype: torch.dtype) -> Tensor:
    return trees.ends[:, None, None]


def _boolean(trees: PackedTrees, dtype: torch.dtype) -> Tensor:
    """SDPA takes it as it is, and then no dtype can clash with autocast's."""
    return trees.mask()


def _additive(trees: PackedTrees, dtype: torch.dtype) -> Tensor:
    """Eager attention adds its mask to the scores."""
    mask = trees.mask()
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _blocks(trees: PackedTrees, dtype: torch.dtype) -> Any:
    return trees.block_mask()


FORMS = {
    PREFIX_TREE: Form(_ends, sparse=True),
    "flex_attention": Form(_blocks, sparse=True),
    "sdpa": Form(_boolean, sparse=False),
    "eager": Form(_additive, sparse=False),
}
"""Attention implementations that let their caller say who sees whom."""
