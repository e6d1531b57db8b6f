"""Rollouts to measure, and every metric with what it takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch

from lightning_agentrl.metrics import (
    CreditStatistics,
    EngineMismatch,
    GroupStd,
    MajorityAtK,
    PassAtK,
    PassHatK,
    StopReasons,
    SuccessBy,
    ToolSuccess,
    Truncation,
    Turns,
    VerdictParts,
    Verdicts,
    ZeroVarianceShare,
)
from lightning_agentrl.metrics.table import Table
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import (
    BranchPoint,
    CallError,
    Reward,
    RolloutBatch,
    Segment,
    StopReason,
    Task,
    ToolCall,
    Trajectory,
    Turn,
)


def of_trajectories() -> list[Table]:
    return [
        PassAtK(),
        PassHatK(),
        MajorityAtK(),
        ToolSuccess(),
        Turns(),
        Truncation(),
        StopReasons(),
        Verdicts(),
        VerdictParts(),
        SuccessBy("hops"),
        ZeroVarianceShare(),
        GroupStd(),
    ]


def of_batches() -> list[Table]:
    return [EngineMismatch(), CreditStatistics(), ZeroVarianceShare(), GroupStd()]


def turn(*calls: ToolCall, tokens: int = 2, heard: int = 0, answer: str | None = None, cut: bool = False) -> Turn:
    return Turn(
        Segment((7,) * tokens, True, (-1.0,) * tokens),
        Segment((8,) * heard, sampled=False) if heard else None,
        calls,
        answer=answer,
        stop=StopReason.TURN_LENGTH if cut else StopReason.FINISHED,
    )


def trajectory(
    task: str = "t",
    outcome: float = 0.0,
    *turns: Turn,
    group: int = 0,
    id: int = 0,
    stop: StopReason = StopReason.FINISHED,
    origin: BranchPoint | None = None,
) -> Trajectory:
    prompt = Segment((1, 2, 3), sampled=False)
    return Trajectory(id, group, id, Task(task, ()), prompt, turns, Reward(outcome, outcome / 2), stop, origin)


def worked(name: str = "search", latency: float = 1.0, cut: bool = False) -> ToolCall:
    return ToolCall(name, {}, latency=latency, truncated=cut)


def failed(name: str, kind: str | None, latency: float = 0.0) -> ToolCall:
    return ToolCall(name, {}, False, kind, latency)


def many(seed: int, groups: int, tools: Sequence[str] = ("search",), first: int = 0) -> list[Trajectory]:
    """Groups of three, of any length and end, and a branch off the last of each group."""
    rng = random.Random(seed)
    made: list[Trajectory] = []
    for group in range(first, first + groups):
        for sample in range(3):
            turns = []
            for _ in range(rng.randint(1, 4)):
                calls = [
                    rng.choice([worked(name, rng.random()), failed(name, f"{name} broke", rng.random())])
                    for name in rng.choices(tools, k=rng.randint(0, 2))
                ]
                calls += [failed(f"made up {rng.random()}", CallError.UNKNOWN_TOOL)] * rng.randint(0, 1)
                turns.append(turn(*calls, tokens=rng.randint(1, 5), heard=rng.randint(1, 3)))
            turns.append(turn(answer=rng.choice(["a", "b", "A ", None]), cut=rng.random() < 0.2))
            outcome, stop = rng.choice([0.0, 0.5, 1.0]), rng.choice(list(StopReason))
            one = trajectory(f"task {group // 2}", outcome, *turns, group=group, id=4 * group + sample, stop=stop)
            parts = {"exact": outcome, f"part {group}": rng.random()}
            task = replace(one.task, meta={"hops": group // 3})
            made.append(replace(one, task=task, reward=Reward(outcome, outcome / 2, parts)))
        parent = made[-1]
        column = len(parent.prompt) + sum(len(s) for s in list(parent.segments)[1:3])
        made.append(replace(parent, id=parent.id + 1, origin=BranchPoint(parent.id, column)))
    return made


def credited(seed: int, rows: int, group: int = 0) -> RolloutBatch:
    """One group with log-probs of engine and trainer, and credit."""
    rng = random.Random(seed)
    turns = [[rng.randint(1, 4) for _ in range(rng.randint(1, 4))] for _ in range(rows)]
    logprobs = [[-rng.random() for _ in range(sum(sizes))] for sizes in turns]
    batch = rollouts(turns, [float(rng.random() < 0.5) for _ in turns], [group] * rows, old_logprobs=logprobs)
    generator = torch.Generator().manual_seed(seed)
    advantages = torch.randn(batch.input_ids.shape, generator=generator) * batch.action_mask
    return replace(batch, advantages=advantages, loss_mask=batch.action_mask)


def measured(metric: Table, *updates: object) -> dict[str, float]:
    for update in updates:
        metric.update(update)
    return {name: float(value) for name, value in metric.compute().items()}
