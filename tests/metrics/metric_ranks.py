"""What each of two ranks does: updates with its share, and all numbers after synchronization, for a test to read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from metric_cases import credited, many, of_batches, of_trajectories
from torch.nn import ModuleList
from torchmetrics import MetricCollection

from lightning_agentrl.metrics.table import Table

EMPTY = torch.tensor([], dtype=torch.int64)


def shares(case: str) -> list[list]:
    """Trajectories of both ranks: other tools and failures, other numbers; in some cases one has none."""
    first, second = many(0, 5, ["search", "browse"]), many(1, 2, ["python"], first=4)  # task 2 on both
    return {"unequal": [first, second], "left": [first, []], "right": [[], second], "none": [[], []]}[case]


def batches(case: str) -> list:
    """The same for batches."""
    first, second = credited(0, 6), credited(1, 2, group=1)
    none = first.select(EMPTY)
    return {"unequal": [first, second], "left": [first, none], "right": [none, second], "none": [none, none]}[case]


CASES = ("unequal", "left", "right", "none")


def fresh(make: Callable[[], list[Table]], cast: bool) -> list[Table]:
    metrics = make()
    if cast:
        ModuleList(metrics).to(torch.bfloat16)  # as Lightning does with a module that holds them
    return metrics


def work(rank: int, folder: str) -> None:
    """Save the numbers of every case."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        torch.save(numbers(rank), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def numbers(rank: int) -> dict[str, dict[str, torch.Tensor]]:
    """By case and metric."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for cast in (False, True):
        for case in CASES:
            for make, data in ((of_trajectories, shares(case)), (of_batches, batches(case))):
                for metric in fresh(make, cast):
                    metric.update(data[rank])
                    found[f"{case} {cast} {make.__name__} {type(metric).__name__}"] = metric.compute()
    for make, data in ((of_trajectories, shares("left")), (of_batches, batches("left"))):
        for metric in fresh(make, False):
            if rank == 0:  # the other never calls update
                metric.update(data[0])
            found[f"silent {make.__name__} {type(metric).__name__}"] = metric.compute()
    collection = MetricCollection(of_trajectories())
    for step, case in enumerate(("left", "right")):  # numbers are read while the table still grows
        collection.update(shares(case)[rank])
        found[f"collection {step}"] = collection.compute()
    return found
