"""Policies with adapters that are no longer zero."""

from __future__ import annotations

from typing import Any

import torch

from lightning_agentrl.policy import PolicySpec
from lightning_agentrl.policy.lora import is_adapter


def moved(spec: PolicySpec) -> Any:
    """The policy of a spec, each adapter moved by the same noise every time."""
    network = spec.load()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_adapter(name):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network
