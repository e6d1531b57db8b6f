"""Likelihoods on prefix trees: what sequences of a group share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_agentrl.prefix_tree import NOTHING, Load, PackedTrees, TokenSequence, pack_trees
from lightning_agentrl.scoring.attention import attention_mask, form
from lightning_agentrl.scoring.head import head_scores, plain_head, token_scores
from lightning_agentrl.scoring.ranks import agreed, run


def tree_likelihoods(
    policy: nn.Module, sequences: Sequence[TokenSequence], temperature: float, entropies: bool, max_tokens: int | None
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"], Load]:
    """Log-probs and (zeros unless asked for) entropies of what the sequences ask about, in their order.

    A forward takes at most ``max_tokens``, padding included. Where that takes several, each is computed again in the
    backward, so that no more than one has its activations in memory. Ranks that hold a part of the policy each make
    equally many.
    """
    device = next(policy.parameters()).device
    packed, load = pack_trees(sequences, max_tokens, sparse=form(policy).sparse)
    packed += [pack_trees([NOTHING])[0][0]] * (agreed(policy, len(packed)) - len(packed))
    apply = _by_backbone if plain_head(policy) else _by_policy
    parts = []
    for trees in packed:
        arguments = (policy, apply, trees.to(device), temperature, entropies)
        if len(packed) > 1 and torch.is_grad_enabled():
            values = checkpoint(run, *arguments, use_reentrant=False)
        else:
            values = run(*arguments)
        parts.append([value[arguments[2].picks] for value in values])
    back = torch.cat([trees.asked for trees in packed]).argsort().to(device)
    logprobs, spreads = (torch.cat(values)[back] for values in zip(*parts, strict=True))
    return logprobs, spreads, load


def _by_backbone(
    policy: Any, trees: PackedTrees, temperature: float, entropies: bool
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """The head on the hidden states that predict a node, and on no others."""
    hidden = policy.base_model(
        input_ids=trees.input_ids,
        position_ids=trees.positions,
        attention_mask=attention_mask(policy, trees),
        use_cache=False,
    )[0]
    rows = hidden.flatten(0, 1).index_select(0, trees.parents)
    targets = trees.input_ids.flatten()[trees.nodes]
    return head_scores(policy.get_output_embeddings(), rows, targets, temperature, entropies)


def _by_policy(
    policy: Any, trees: PackedTrees, temperature: float, entropies: bool
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """The policy's own logits, where it does more to them than its head does: at any column that some row needs.

    They are kept for the backward, so ``max_tokens`` bounds memory here.
    """
    rows, columns = trees.parents // trees.ends.shape[1], trees.parents % trees.ends.shape[1]
    needed, number = columns.unique(return_inverse=True)
    logits = policy(
        input_ids=trees.input_ids,
        position_ids=trees.positions,
        attention_mask=attention_mask(policy, trees),
        use_cache=False,
        logits_to_keep=needed,
    ).logits  # [R, columns, V]
    targets = trees.input_ids.flatten()[trees.nodes]
    return token_scores(logits[rows, number], targets, temperature, entropies)
