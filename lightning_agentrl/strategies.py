"""Several ranks: FSDP2 over all of them, and which of Lightning's strategies a policy can be trained with."""

from __future__ import annotations

from lightning.pytorch.strategies import ModelParallelStrategy


class FSDP2Strategy(ModelParallelStrategy):
    """Fully sharded data parallel: ranks hold a part each of weights, gradients and optimizer state.

    Lightning's own strategy for FSDP2, with all ranks in its data-parallel dimension, however many there are.
    """

    def __init__(self, save_distributed_checkpoint: bool = False, process_group_backend: str | None = None) -> None:
        """Nothing is set up yet.

        Args:
            save_distributed_checkpoint: Whether each rank saves its part, into a folder; otherwise the first rank
                collects all in its memory and saves one file.
            process_group_backend: Of torch.distributed; none takes nccl on GPUs and gloo on CPUs.
        """
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
        )

    def check_saving(self, adapters: bool) -> None:
        """Raise a ValueError when adapters would be saved in parts, which are read back with the whole policy only."""
        if adapters and self._save_distributed_checkpoint:
            raise ValueError(
                "trainer.strategy: save_distributed_checkpoint=true with model.lora leaves parts of adapters that "
                "nothing resumes from. Leave it false: adapters are small, and one file holds them."
            )

    def setup_environment(self) -> None:
        """All ranks share the policy out among themselves."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()
