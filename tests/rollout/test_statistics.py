"""Numbers about a collection."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path

import torch

from lightning_agentrl.rollout.statistics import over_ranks, summarize
from lightning_agentrl.types import Reward, Segment, Task, Trajectory, Turn


def trajectory(group: int, reward: float) -> Trajectory:
    turn = Turn(action=Segment((5, 6), sampled=True, logprobs=(-1.0, -1.0)))
    return Trajectory(0, group, 0, Task("t", ()), Segment((1,), sampled=False), (turn,), Reward(reward, reward))


def test_a_reward_that_is_not_a_number_does_not_hide_the_others() -> None:
    numbers = summarize([trajectory(0, 1.0), trajectory(0, 0.0), trajectory(1, math.nan)])
    assert numbers["reward/mean"] == 0.5
    assert numbers["reward/group_std"] == 0.5
    assert all(math.isfinite(value) for value in numbers.values())


def test_without_any_finite_reward_the_mean_is_zero() -> None:
    assert summarize([trajectory(0, math.nan)])["reward/mean"] == 0.0


def test_one_rank_keeps_its_numbers() -> None:
    assert over_ranks({"b": 2.0, "a": 1.0}) == {"a": 1.0, "b": 2.0}


def two_ranks(rank: int, port: int, results: str) -> None:
    """Rank 1 saw something that rank 0 did not."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mine = {"both": float(rank), "rollout/length_max": 5.0 - rank, "credit/lone_rollouts": 3.0}
    found = over_ranks(mine if rank == 0 else {**mine, "one": 7.0})
    (Path(results) / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_ranks_may_have_seen_different_things(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(two_ranks, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {
            "both": 0.5,
            "one": 7.0,
            "rollout/length_max": 5.0,
            "credit/lone_rollouts": 6.0,
        }
