"""Tensor parallelism: ranks that hold a slice of every layer each, and so compute the sequences of all together.

Such ranks are a team. Each member rolls out, credits and trains prompts of its own, as every rank does; only its
forwards are the team's: the sequences of all members go in, and each takes out what its own sequences asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from lightning_agentrl.prefix_tree import TokenSequence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEAM = "tensor_parallel"
"""Lightning's name of the dimension of a device mesh along which the members of a team lie."""


class Replicated(ParallelStyle):
    """A module that every member holds whole, with one tensor in and one out, laid out alike."""

    def __init__(self, layout: Placement | None = None) -> None:
        """Nothing is done yet; where members see slices of the input, as norms of heads do, ``layout`` says which."""
        super().__init__()
        self.layout = [layout or Replicate()]

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        return distribute_module(module, device_mesh, None, self._enter, self._leave)  # type: ignore[arg-type]

    def _enter(self, module: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> tuple[Tensor, ...]:
        first, *others = inputs
        return DTensor.from_local(first, mesh, self.layout, run_check=False), *others

    def _leave(self, module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
        return output.to_local()


STYLES: dict[str, Callable[[], ParallelStyle]] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "colwise_gather_output": lambda: ColwiseParallel(output_layouts=Replicate()),
    "rowwise_split_input": lambda: RowwiseParallel(input_layouts=Replicate()),
    "embedding_rowwise": lambda: RowwiseParallel(input_layouts=Replicate()),
    "replicated_with_grad_allreduce": lambda: Replicated(Shard(-2)),
}
"""What the words of a Hugging Face plan mean, but for those about mixtures of experts."""


def split(policy: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Leave each member its slice of the layers, by the policy's own plan, and of the vocabulary; in place.

    Args:
        policy: a Hugging Face causal language model.
        mesh: one-dimensional, of a team.

    Raises:
        ValueError: as `plan`.
    """
    embedding: Any = policy.get_input_embeddings()
    head: Any = policy.get_output_embeddings()
    tied = embedding.weight is head.weight
    parallelize_module(policy, mesh, plan(policy, mesh.size()))
    if tied:
        head.weight = embedding.weight


def plan(policy: PreTrainedModel, members: int) -> dict[str, ParallelStyle]:
    """How members share out each module that holds parameters. Reads names and shapes alone.

    Raises:
        ValueError: when the policy has no plan, or one that does not say everything, or its sizes do not divide.
    """
    name = type(policy).__name__
    words = dict(policy.tp_plan or {})
    if not any(word.startswith("rowwise") for word in words.values()):  # some speak of the output head alone
        raise ValueError(f"{name} has no plan for tensor parallelism of its layers (tp_plan); use -c strategy/fsdp2.")
    unknown = sorted(set(words.values()) - STYLES.keys())
    if unknown:
        raise ValueError(f"{name} asks for {', '.join(unknown)}, known are {', '.join(STYLES)}; use -c strategy/fsdp2.")
    _check_heads(policy, members)
    ends = {policy.get_input_embeddings(): "embedding_rowwise", policy.get_output_embeddings(): "colwise_gather_output"}
    found: dict[str, ParallelStyle] = {}
    for path, module in policy.named_modules():
        word = ends.get(module) or words.get(_pattern(path))
        if word is not None:
            found[path] = STYLES[word]()
            _check_shape(path, module, word, members)
        elif next(module.parameters(recurse=False), None) is not None:
            _check_whole(path, words)
            found[path] = Replicated()
    return found


def team(policy: nn.Module) -> DeviceMesh | None:
    """The ranks that compute forwards of the policy together; None where each computes its own."""
    first = next(policy.parameters())
    if not isinstance(first, DTensor) or TEAM not in (first.device_mesh.mesh_dim_names or ()):
        return None
    return first.device_mesh[TEAM]


def of_team(sequences: Sequence[TokenSequence], mesh: DeviceMesh | None) -> tuple[Sequence[TokenSequence], slice]:
    """The sequences of all members, and which of the numbers they ask for are this member's; each member calls this."""
    if mesh is None:
        return sequences, slice(None)
    # As lists, because a tensor drags along all that it is a view of.
    mine = [(sequence.tokens.tolist(), sequence.wanted.tolist(), sequence.group) for sequence in sequences]
    members: list[Any] = [None] * mesh.size()
    dist.all_gather_object(members, mine, group=mesh.get_group())
    asked = [sum(len(wanted) for _, wanted, _ in member) for member in members]
    first = sum(asked[: mesh.get_local_rank()])
    everyone = [TokenSequence(torch.tensor(ids), _columns(wanted), group) for m in members for ids, wanted, group in m]
    return everyone, slice(first, first + asked[mesh.get_local_rank()])


def heard_by_all(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The values that every member has computed; what one of them makes of its own then reaches the backward of all."""
    if mesh is None or not values.requires_grad:
        return values
    shared = DTensor.from_local(values, mesh, [Replicate()], run_check=False)
    return shared.to_local(grad_placements=[Partial()])


def _columns(wanted: list[int]) -> Tensor:
    return torch.tensor(wanted, dtype=torch.int64)


def _pattern(path: str) -> str:
    """A module's name as plans write it: numbers of layers are stars."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)


def _check_heads(policy: PreTrainedModel, members: int) -> None:
    text: Any = policy.config.get_text_config()
    heads = text.num_attention_heads
    for what, count in (("attention", heads), ("key-value", getattr(text, "num_key_value_heads", None) or heads)):
        if count % members:
            raise ValueError(
                f"{type(policy).__name__} has {count} {what} heads, which {members} ranks of tensor parallelism "
                f"cannot share out evenly; lower tensor_parallel_size."
            )


def _check_shape(path: str, module: nn.Module, word: str, members: int) -> None:
    """Slices of layers are equally large; those of the vocabulary need not be."""
    if word in ("colwise", "rowwise") and isinstance(module, nn.Linear):
        size = module.out_features if word == "colwise" else module.in_features
        if size % members:
            raise ValueError(f"{path} has {size} units, which {members} ranks of tensor parallelism cannot share out.")


def _check_whole(path: str, words: dict[str, str]) -> None:
    """Around layers that leave slices, a module may see slices, and its gradients be parts that nobody adds up."""
    sliced = {layer.rpartition(".")[0] for layer, word in words.items() if word == "colwise"}
    if sliced & {_pattern(path), _pattern(path).rpartition(".")[0]}:
        raise ValueError(
            f"{path} holds parameters amidst layers that are shared out, and the policy's plan for tensor parallelism "
            f"says nothing about it; use -c strategy/fsdp2."
        )
