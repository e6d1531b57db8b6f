"""Policies whose ranks hold a part each (FSDP2): gathered around our forwards, and as many of those on every rank."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from lightning_agentrl.scoring.tensor_parallel import TEAM, split

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")
WAY = "agentrl_way"
"""Name of the method of a sharded policy that FSDP takes for another `forward`."""


def share_out(policy: PreTrainedModel, mesh: DeviceMesh | None) -> PreTrainedModel:
    """Leave each rank its part of every parameter, layer by layer, in place; without a mesh, nothing is done.

    The mesh is Lightning's: along ``data_parallel`` parameters are gathered for each forward, along ``tensor_parallel``
    they stay apart.

    Scoring runs backbone and head apart, and both need what FSDP gathers for the policy's own forward. So the policy
    gets a method that runs whatever it is given, inside of that.
    """
    if mesh is None:
        return policy
    if mesh[TEAM].size() > 1:
        split(policy, mesh[TEAM])
    blocks = set(getattr(policy, "_no_split_modules", None) or ())
    layers = [module for module in policy.modules() if type(module).__name__ in blocks]
    if not layers:
        raise ValueError(
            f"{type(policy).__name__} does not say what its layers are (_no_split_modules), by which FSDP2 shards it; "
            f"use strategy ddp."
        )
    for layer in layers:
        fully_shard(layer, mesh=mesh["data_parallel"])
    fully_shard(policy, mesh=mesh["data_parallel"])
    setattr(policy, WAY, MethodType(_apply, policy))
    register_fsdp_forward_method(policy, WAY)
    return policy


def run(policy: nn.Module, way: Callable[..., T], *arguments: Any) -> T:
    """``way(policy, *arguments)``, all parameters at hand."""
    if not isinstance(policy, FSDPModule):
        return way(policy, *arguments)
    result: T = getattr(policy, WAY)(way, *arguments)
    return result


def agreed(policy: nn.Module, forwards: int) -> int:
    """How many forwards every rank makes: the most that any has to; its own number where ranks need not agree.

    A sharded policy gathers parameters in each forward and scatters gradients in each backward, on all ranks at once.
    """
    if not isinstance(policy, FSDPModule):
        return forwards
    most = torch.tensor(forwards, device=next(policy.parameters()).device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def release(policy: nn.Module) -> None:
    """Free what forwards without a backward leave gathered, which is all that is in no layer: embeddings and head."""
    if isinstance(policy, FSDPModule):
        policy.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from the ranks where each holds a part of it; every rank has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _apply(policy: nn.Module, way: Callable[..., T], *arguments: Any) -> T:
    return way(policy, *arguments)
