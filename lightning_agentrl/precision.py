"""An output head that computes in float32, whatever the rest of a network computes in."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear


class Float32Head(nn.Linear):
    """A linear layer whose product is taken in float32, autocast or not; its weights keep the type they have.

    Log-probs are differences of large logits: rounded to bfloat16, two networks that agree differ by hundredths of a
    nat (seen by MiniMax-M1, arXiv:2506.13585).
    """

    def forward(self, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        """Logits in float32."""
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return linear(hidden.float(), self.weight.float(), bias)


def use_float32_head(network: Any) -> None:
    """Let a Hugging Face causal LM compute its logits in float32. Parameters, their names and ties stay.

    Raises:
        ValueError: when its head is no plain linear layer.
    """
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise ValueError(f"model.float32_head needs a linear output head, {type(network).__name__} has {type(head)}.")
    replacement = Float32Head(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
    replacement.weight, replacement.bias = head.weight, head.bias
    network.set_output_embeddings(replacement.train(head.training))
