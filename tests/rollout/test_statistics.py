"""Numbers about a collection."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_agentrl.rollout.statistics import collected, entropy, local, over_ranks, validated
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import BranchPoint, Reward, Segment, Task, ToolCall, Trajectory, Turn


def said(count: int, *calls: bool, answered: bool = False, cached: int = 0) -> Turn:
    """So many tokens, calls that went well or not, and two tokens of observation."""
    return Turn(
        Segment((7,) * count, True, (-1.0,) * count),
        Segment((8, 8), sampled=False) if answered else None,
        tuple(ToolCall("search", {}, ok, None if ok else "timeout") for ok in calls),
        cached_tokens=cached,
    )


def family() -> list[Trajectory]:
    """Four columns of prompt. 0 says turns at 4–6 and 9–10; 1 leaves it at 9, 2 leaves 1 at 11, and 3 leaves 0 at 5."""
    first = said(3, True, answered=True, cached=3)
    turns = [
        (first, said(2, cached=8)),
        (first, said(4, cached=9)),
        (first, said(3, False, cached=6)),
        (said(3, True, answered=True, cached=4), said(2)),
    ]
    origins = [None, BranchPoint(0, 9), BranchPoint(1, 11), BranchPoint(0, 5)]
    prompt = Segment((1,) * 4, sampled=False)
    return [
        Trajectory(id, 0, id, Task("t", ()), prompt, turns[id], Reward(0, 0), origin=origins[id]) for id in range(4)
    ]


def test_a_branchs_own_turns_are_those_that_it_said_some_of() -> None:
    own = [[count for _, count in trajectory.own_turns] for trajectory in family()]
    assert own == [[3, 2], [4], [1], [2, 2]]  # 2 inherited two tokens of its second turn, 3 one of its first
    assert local(family(), seconds=7.0)["rollout/tokens_per_second"] == 2  # 14 tokens


def test_entropy_is_how_unlikely_sampled_tokens_were_and_inherited_ones_are_no_new_samples() -> None:
    # Prompt of 2, then 2 tokens with log-probs −1 and −3; the branch inherits all but its last token, with −5.
    batch = rollouts([[2], [2]], [1, 0])
    logprobs = torch.tensor([[0.0, 0, -1, -3], [0, 0, -1, -5]])
    batch = replace(batch, sampling_logprobs=logprobs, inherited=torch.tensor([0, 3]))
    assert entropy(batch) == {"policy/entropy": 3.0}  # (1 + 3 + 5) / 3
    assert entropy(replace(batch, action_mask=torch.zeros_like(batch.action_mask))) == {}


def test_a_collection_is_measured_over_rollouts_and_batch() -> None:
    batch = rollouts([[2], [1]], [1, 0], old_logprobs=[[-1.5, -1.5], [-1.5]])
    batch = replace(batch, advantages=batch.action_mask.float(), loss_mask=batch.action_mask)
    numbers = collected(family(), batch, {"rollout": 1.0}, {"dropped_groups": 0.0}, torch.device("cpu"))
    assert numbers["tool/executed"] == 3
    assert numbers["rollout/generated_tokens"] == 14
    assert numbers["engine/logprob_gap"] == 0.5
    assert numbers["credit/nonzero_turn_share"] == 1


def test_validation_rollouts_are_measured() -> None:
    numbers = validated(family(), "hops", {"dropped_groups": 2.0}, 1.5, torch.device("cpu"))
    assert (numbers["val/pass@4"], numbers["val/stop_finished"], numbers["val/seconds"]) == (0, 1, 1.5)
    assert numbers["val/tool/calls"] == 5 / 4


def test_where_and_how_deep_rollouts_branched() -> None:
    numbers = local(family())
    assert numbers["branch/share"] == 3 / 4
    assert (numbers["branch/depth"], numbers["branch/depth_max"]) == (1, 2)  # 0, 1, 2, 1
    assert numbers["branch/turn"] == pytest.approx((1 + 1 + 0) / 3)
    assert numbers["branch/inherited_share"] == pytest.approx((9 / 13 + 11 / 12 + 5 / 11) / 3)


def test_what_a_branch_inherited_was_not_asked_for_again() -> None:
    # Requests behind 4 and 9 columns, then 9, then 11, then 5 and 9; cached 3 + 8, 9, 6 and 4.
    assert local(family())["rollout/prompt_cache_share"] == 30 / 47


def test_without_branches_there_is_nothing_to_say_about_them() -> None:
    assert not [name for name in local(family()[:1]) if name.startswith("branch/")]


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
