"""Strategies under which a run would be wrong are refused before anything is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)

from lightning_agentrl.rollout.checks import check_ranks, check_strategy
from lightning_agentrl.strategies import FSDP2Strategy, averaged_over


def with_strategy(strategy: Strategy, ranks: int = 1) -> Trainer:
    return cast(Trainer, SimpleNamespace(strategy=strategy, world_size=ranks))


@pytest.mark.parametrize(
    "strategy", [SingleDeviceStrategy(), DDPStrategy(), FSDP2Strategy()], ids=lambda s: type(s).__name__
)
def test_what_trains_like_one_rank_is_accepted(strategy: Strategy) -> None:
    check_strategy(with_strategy(strategy))


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        (FSDPStrategy(), "FSDP1.*-c strategy/fsdp2"),
        (ModelParallelStrategy(), "FSDP2Strategy.*-c strategy/fsdp2_tp"),
        (DDPStrategy(start_method="spawn"), "DDPStrategy in forked processes"),
        (DDPStrategy(start_method="fork"), "DDPStrategy in forked processes"),
        (type("DeepSpeedStrategy", (DDPStrategy,), {})(), "DeepSpeedStrategy has not been seen"),
    ],
)
def test_what_would_be_wrong_is_refused(strategy: Strategy, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_strategy(with_strategy(strategy))


def test_teams_deal_out_all_ranks_or_are_refused() -> None:
    for members in (0, -2):
        with pytest.raises(ValueError, match=f"at least 1, got {members}"):
            FSDP2Strategy(tensor_parallel_size=members)
    strategy = FSDP2Strategy(tensor_parallel_size=2)
    strategy.parallel_devices = [torch.device("cpu")] * 3
    with pytest.raises(ValueError, match="tensor_parallel_size=2 does not divide the 3 ranks"):
        strategy.setup_environment()
    for dealt, gradients in ((strategy, 3), (FSDP2Strategy(), 6), (DDPStrategy(), 6)):
        assert averaged_over(with_strategy(dealt, ranks=6)) == gradients


@pytest.mark.parametrize(
    ("prompts", "tasks", "complaint"),
    [(6, 20, "multiple of the number of ranks, got 6 prompts for 4 ranks"), (8, 3, "3 train tasks for 4 ranks")],
)
def test_ranks_that_cannot_be_dealt_to_are_refused_with_the_numbers(prompts: int, tasks: int, complaint: str) -> None:
    found: dict[Any, Any] = {"train": [None] * tasks}
    with pytest.raises(ValueError, match=complaint):
        check_ranks(with_strategy(DDPStrategy(), ranks=4), prompts, found)
