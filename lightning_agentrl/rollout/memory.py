"""What a run will hold in memory, said before anything is loaded, and refused where it cannot fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightning_agentrl.engines.base import RolloutEngine
from lightning_agentrl.types import Holding, Learner

say = rank_zero_only(logging.getLogger(__name__).info)


def check_memory(learner: Learner, engine: RolloutEngine, trainer: Trainer, training: bool) -> None:
    """Print what trainer and engine will hold on the device of this rank, and see that it is there.

    Raises:
        ValueError: when what is certain does not fit.
    """
    device = trainer.strategy.root_device
    total, free = available(device, trainer.num_devices)
    held = learner.holdings(device, training) + engine.holdings(learner.policy_size, device, total)
    say(table(held, device, free))
    refuse(held, device, free)


def available(device: torch.device, processes: int) -> tuple[int, int]:
    """Bytes of this rank's device: all, and those that are free. Ranks on a CPU share its memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    import psutil

    memory = psutil.virtual_memory()
    return memory.total // processes, memory.available // processes


def table(held: Sequence[Holding], device: torch.device, free: int) -> str:
    """One line per holding, and their sum against what is free."""
    lines = [f"memory on {device}, per process", *(_line(h.what, h.size, h.certain) for h in held)]
    total = sum(holding.size for holding in held)
    exact = all(holding.certain for holding in held)
    return "\n".join([*lines, f"{_line('together', total, exact)}, {gib(free)} free"])


def refuse(held: Sequence[Holding], device: torch.device, free: int) -> None:
    """Raise a ValueError when what is certain is more than what is free; estimates may be wrong, and only warn."""
    certain = [holding for holding in held if holding.certain]
    needed = sum(holding.size for holding in certain)
    if needed > free:
        parts = ", ".join(f"{holding.what} {gib(holding.size)}" for holding in certain)
        raise ValueError(
            f"{device} has {gib(free)} free and this run holds {gib(needed)} there before the first token: {parts}. "
            f"Train adapters (model.lora), hold weights in bfloat16 (model.dtype), give the engine less "
            f"(gpu_memory_utilization, kv_cache_memory_bytes), shard over more devices, or take a smaller policy."
        )


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _line(what: str, size: int, certain: bool) -> str:
    return f"  {what:<44} {'' if certain else 'about ':>6}{gib(size):>10}"
