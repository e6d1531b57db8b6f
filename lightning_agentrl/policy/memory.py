"""How much memory training a policy takes, from its architecture alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from lightning_agentrl.policy.spec import PolicySpec
from lightning_agentrl.scoring.tensor_parallel import plan
from lightning_agentrl.types import Holding

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NF4_BYTES = (4 + 0.127) / 8
"""Per weight, with double quantization (arXiv:2305.14314, §3)."""
SAMPLE = 1 << 16
"""Size of the parameter on which an optimizer's state is measured; 8-bit optimizers leave small ones in float32."""


def holdings(
    spec: PolicySpec,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None,
    device: torch.device,
    mixed: bool,
    reference: bool,
    max_tokens: int,
    parts: int = 1,
    buckets: bool = False,
    slices: int = 1,
) -> list[Holding]:
    """What the trainer's side of a rank holds.

    Args:
        spec: which policy, in which form.
        optimizer: of a training run; None where nothing is trained.
        device: where an optimizer is tried out on a small parameter.
        mixed: whether autocast computes in 16 bits.
        reference: whether there is a KL to the policy at the start.
        max_tokens: of one forward.
        parts: of how many each rank holds one, of all that lasts from step to step.
        buckets: whether DDP holds the gradients a second time.
        slices: of how many each rank holds one, of every layer that it computes.

    Raises:
        ValueError: when a target of LoRA matches no layer, 4-bit weights are asked for without CUDA, or layers
            cannot be sliced.
        ImportError: when they are asked for without bitsandbytes.
    """
    spec.check(device)
    if slices > 1:
        plan(spec.skeleton, slices)
    dtype, lora = getattr(torch, spec.dtype), spec.lora
    base = spec.parameters * dtype.itemsize
    if lora is not None and lora.quantize is not None:
        head = spec.skeleton.get_output_embeddings()
        linear = [m for m in spec.skeleton.modules() if isinstance(m, nn.Linear) and m is not head]
        base -= int(sum(module.weight.numel() for module in linear) * (dtype.itemsize - NF4_BYTES))
    found = [Holding(f"weights, {(lora and lora.quantize) or spec.dtype}{', frozen' if lora else ''}", base)]
    trained, width = spec.parameters, dtype.itemsize
    if lora is not None:
        width = torch.float32.itemsize
        trained = sum(lora.r * (m.in_features + m.out_features) for m in spec.targeted.values())
        found.append(Holding(f"adapters on {len(spec.targeted)} layers, float32", trained * width))
    if optimizer is not None:
        kept = trained * state_bytes(optimizer, torch.float32 if lora else dtype, device)
        found += [Holding("gradients", trained * width), Holding("optimizer's state", int(kept))]
        if buckets:
            found.append(Holding("gradients in DDP's buckets", trained * width))
    if reference and lora is None:
        found.append(Holding("reference policy", base))
    if parts > 1:
        gathered = gathered_at_once(spec) * dtype.itemsize // slices
        found = in_parts(found, parts, gathered, gradients=optimizer is not None and lora is None)
    if mixed and dtype == torch.float32 and optimizer is not None and not spec.gradient_checkpointing:
        found.append(Holding("16-bit copies for autocast", spec.parameters * 2, certain=False))
    if optimizer is not None:
        item = 2 if mixed else dtype.itemsize
        size = activations(spec.config, max_tokens, spec.gradient_checkpointing, slices) * item
        how = "checkpointed" if spec.gradient_checkpointing else "all kept"
        found.append(Holding(f"activations of {max_tokens} tokens, {how}", size, certain=False))
    return found


def in_parts(held: Sequence[Holding], parts: int, gathered: int, gradients: bool) -> list[Holding]:
    """What is left of it on each of the ranks that share it out, and what they gather, maybe with its gradients."""
    shares = [Holding(f"{h.what}, 1 of {parts} parts", -(-h.size // parts)) for h in held]
    size = 2 * gathered if gradients else gathered  # gradients are whole until they are scattered
    return [*shares, Holding("layers gathered from the ranks", size, certain=False)]


def gathered_at_once(spec: PolicySpec) -> int:
    """Numbers that FSDP2 gathers at a time: what is in no layer, and two layers, one of which is being fetched."""
    blocks = set(spec.skeleton._no_split_modules or ())
    layers = [module for module in spec.skeleton.modules() if type(module).__name__ in blocks]
    sizes = sorted(sum(p.numel() for p in layer.parameters()) for layer in layers)
    return spec.parameters - sum(sizes) + sum(sizes[-2:])


def state_bytes(optimizer: Callable[[Any], torch.optim.Optimizer], dtype: torch.dtype, device: torch.device) -> float:
    """Bytes that an optimizer keeps per trained number, measured on a parameter of `SAMPLE` of them."""
    parameter = nn.Parameter(torch.zeros(256, SAMPLE // 256, dtype=dtype, device=device))
    parameter.grad = torch.zeros_like(parameter)
    tried = optimizer([parameter])
    tried.step()
    return sum(_size(value) for value in tried.state[parameter].values() if isinstance(value, Tensor)) / SAMPLE


def activations(config: PretrainedConfig, tokens: int, checkpointed: bool, slices: int = 1) -> int:
    """Numbers kept for the backward of one forward, about; without logits, which are made in chunks and not kept.

    A layer with rotary attention and a gated MLP keeps, per token, two residuals and two norms' outputs, queries, keys,
    values and the attention's output, and four numbers per intermediate unit; of all but the former, tensor parallelism
    leaves a rank its slice.
    """
    text: Any = config.get_text_config()
    settings = text.to_dict()
    heads, hidden = text.num_attention_heads, text.hidden_size
    head_dim = settings.get("head_dim") or hidden // heads
    key_heads = settings.get("num_key_value_heads") or heads
    intermediate = settings.get("intermediate_size") or 4 * hidden
    layer = 4 * hidden + (2 * head_dim * (heads + key_heads) + 4 * intermediate) // slices
    layers = text.num_hidden_layers
    # Checkpointed, each layer keeps its input, and one layer at a time everything.
    return int(tokens * (layers * hidden + layer if checkpointed else layers * layer))


def _size(tensor: Tensor) -> int:
    """Of what is really stored, also where a quantized tensor poses as a float one."""
    if is_traceable_wrapper_subclass(tensor):
        inner, _ = tensor.__tensor_flatten__()
        return sum(_size(getattr(tensor, name)) for name in inner)
    return tensor.nbytes
