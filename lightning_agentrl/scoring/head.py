"""From hidden states to log-probs and entropies, without ever keeping a tensor of tokens × vocabulary."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_agentrl.scoring.ranks import whole

CHUNK = 2**26
"""Most logits at a time; 256 MiB in float32."""


def token_scores(
    logits: Float[Tensor, "M V"], targets: Int[Tensor, " M"], temperature: float, entropies: bool
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Log softmax(logits / temperature) of the targets, and the distribution's entropy (nats; zeros unless asked for).

    In float32. Entropies carry no gradient.
    """
    rows = logits.float() / temperature
    log_normalizer = rows.logsumexp(-1)
    chosen = rows.gather(-1, targets[:, None])[:, 0] - log_normalizer
    if not entropies:
        return chosen, torch.zeros_like(log_normalizer)
    with torch.no_grad():
        mean_logit = (rows.softmax(-1) * rows).sum(-1)
    return chosen, log_normalizer.detach() - mean_logit


def head_scores(
    head: nn.Module, hidden: Float[Tensor, "M H"], targets: Int[Tensor, " M"], temperature: float, entropies: bool
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """`token_scores` of ``head(hidden)``, in chunks whose logits are computed again in the backward."""
    vocabulary: Any = head.weight
    size = max(CHUNK // len(vocabulary), 1)
    parts = []
    for rows, wanted in zip(hidden.split(size), targets.split(size), strict=True):
        arguments = (head, rows, wanted, temperature, entropies)
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_chunk(*arguments))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _chunk(
    head: nn.Module, hidden: Float[Tensor, "C H"], targets: Int[Tensor, " C"], temperature: float, entropies: bool
) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    return token_scores(head(hidden), targets, temperature, entropies)


@torch.no_grad()
def plain_head(policy: nn.Module) -> bool:
    """Whether the policy's logits are its head on the backbone's last hidden state, and nothing else.

    Some architectures cap or scale logits, or the state before the head; more will come, under names nobody knows yet.
    So this watches a forward of two tokens, once per policy: what comes out of the backbone must go into the head, and
    what comes out of the head, replaced by numbers that no cap or scale leaves alone, must come out of the policy.
    """
    if policy not in _plain:
        _plain[policy] = _watch(policy)
    return _plain[policy]


_plain: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _watch(policy: nn.Module) -> bool:
    head: Any = policy.get_output_embeddings()  # type: ignore[operator]
    backbone: Any = policy.base_model
    if head is None or backbone is policy:
        return False
    seen: dict[str, Tensor] = {}

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        seen["left"] = output[0]

    def enter(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        seen["entered"] = args[0]
        seen["marks"] = torch.linspace(-999, 999, output.shape[-1]).to(output).expand_as(output)
        return seen["marks"]

    hooks = [backbone.register_forward_hook(leave), head.register_forward_hook(enter)]
    try:
        tokens = torch.arange(2, device=next(policy.parameters()).device)[None]  # a padding token's state may be zero
        logits = policy(input_ids=tokens, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    if seen.keys() != {"left", "entered", "marks"}:  # adapters, for one, may go around the hooks
        return False
    return torch.equal(seen["left"], whole(seen["entered"])) and torch.equal(logits.float(), seen["marks"].float())
