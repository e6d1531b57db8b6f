"""Several ranks: FSDP2, with or without tensor parallelism."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict


def keeps_buckets(strategy: Strategy) -> bool:
    """Whether ranks hold gradients twice: beside the parameters, and in the buckets that DDP sends."""
    return isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("gradient_as_bucket_view", False)


def averaged_over(trainer: Trainer) -> int:
    """Of how many gradients a step takes the average: one per rank, or per team that makes one together."""
    strategy = trainer.strategy
    return trainer.world_size // (strategy.tensor_parallel_size if isinstance(strategy, FSDP2Strategy) else 1)


class FSDP2Strategy(ModelParallelStrategy):
    """Fully sharded data parallel: ranks hold a part each of weights, gradients and optimizer state.

    Lightning's own strategy for FSDP2 and tensor parallelism; the data-parallel size follows from the number of ranks.
    """

    def __init__(
        self,
        tensor_parallel_size: int = 1,
        save_distributed_checkpoint: bool = False,
        process_group_backend: str | None = None,
    ) -> None:
        """Nothing is set up yet.

        Args:
            tensor_parallel_size: Neighbouring ranks that compute every forward together, a slice of each layer each.
                They talk in every layer, so they should be of one machine.
            save_distributed_checkpoint: Whether each rank saves its part, into a folder; otherwise the first rank
                collects all in its memory and saves one file.
            process_group_backend: Of torch.distributed; none takes nccl on GPUs and gloo on CPUs.
        """
        if tensor_parallel_size < 1:
            raise ValueError(
                f"trainer.strategy.tensor_parallel_size must be at least 1, got {tensor_parallel_size}; 1 is none."
            )
        self.tensor_parallel_size = tensor_parallel_size
        super().__init__(
            tensor_parallel_size=tensor_parallel_size,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
        )

    def check_adapters(self, quantized: bool) -> None:
        """Raise a ValueError for adapters that are saved in parts, on slices of layers, or on weights of 4 bits."""
        if self._save_distributed_checkpoint:
            raise ValueError(
                "trainer.strategy: save_distributed_checkpoint=true with model.lora leaves parts of adapters that "
                "nothing resumes from. Leave it false: adapters are small, and one file holds them."
            )
        if self.tensor_parallel_size > 1:
            raise ValueError(
                "trainer.strategy: tensor_parallel_size slices the layers of a policy, and an adapter of model.lora is "
                "none of them. Use -c strategy/fsdp2: frozen weights need no gradients and no optimizer state."
            )
        if quantized:
            raise ValueError(
                "trainer.strategy: FSDP2 shares out plain tensors, and model.lora.quantize keeps weights packed, with "
                "their scales beside them. Use -c strategy/ddp, where each rank holds all, or leave quantize out."
            )

    def setup_environment(self) -> None:
        """Deal out the ranks to teams."""
        ranks = self.num_nodes * self.num_processes
        if ranks % self.tensor_parallel_size:
            raise ValueError(
                f"trainer.strategy.tensor_parallel_size={self.tensor_parallel_size} does not divide the {ranks} ranks."
            )
        self._data_parallel_size = ranks // self.tensor_parallel_size
        super().setup_environment()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Take up a checkpoint: a folder of parts, or the one file of any strategy.

        Lightning lets the module look at a file only after it took what fits, and counts the parameters of an optimizer
        as if all of the policy's were in it, which adapters' are not; so both are done here.

        Raises:
            ValueError: when the file holds other weights than are trained here.
        """
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        assert self.lightning_module is not None
        assert self.model is not None
        saved = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        self.lightning_module.on_load_checkpoint(saved)
        optimizers, self.optimizers = self.optimizers, []
        try:
            rest = super().load_checkpoint(path, weights_only)
        finally:
            self.optimizers = optimizers
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        for optimizer, state in zip(optimizers, rest.get("optimizer_states", ()), strict=False):
            set_optimizer_state_dict(self.model, optimizer, by_name(state, optimizer, self.model), options=options)
        return rest


def by_name(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Any]:
    """An optimizer's saved state under the names of its parameters here, not numbers; their order is the same."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    here = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    there = [key for group in state["param_groups"] for key in group["params"]]
    name = dict(zip(there, here, strict=True))
    groups = [{**group, "params": [name[key] for key in group["params"]]} for group in state["param_groups"]]
    return {"state": {name[key]: values for key, values in state["state"].items()}, "param_groups": groups}
