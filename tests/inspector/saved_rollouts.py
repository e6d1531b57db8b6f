"""Collections with known credit, saved as training saves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.types import BranchPoint, Reward, Segment, Task, Timing, ToolCall, Trajectory, Turn

TOKENIZER = train_tokenizer(["search for the mayor of Antan", "the mayor of Antan is Bodor", "Who is it?"] * 2, 320)


def segment(text: str, *, sampled: bool) -> Segment:
    ids = tuple(TOKENIZER.encode(text))
    return Segment(ids, sampled, (-0.5,) * len(ids) if sampled else None)


def said(action: str, heard: str | None, tool: str = "search", **call: Any) -> Turn:
    """A turn that calls a tool, or one that answers."""
    calls = () if heard is None else (ToolCall(tool, {"query": "x"}, latency=0.02, **call),)
    return Turn(
        segment(action, sampled=True),
        None if heard is None else segment(heard, sampled=False),
        calls,
        text=action,
        answer="Bodor" if heard is None else None,
        results=() if heard is None else (heard,),
        timing=Timing(0.0, 0.1, 0.12),
    )


def rollouts(prompts: int = 2, samples: int = 4, heard: str = "the mayor of Antan is Bodor") -> list[Trajectory]:
    """Sample n makes n % 3 tool calls before it answers, and the last half of each prompt succeeds.

    The first prompt's last rollout branches off its third.
    """
    found = []
    for group in range(prompts):
        for sample in range(samples):
            id = group * samples + sample
            turns = [*(said(f"search {n}", heard) for n in range(sample % 3)), said("it is Bodor", None)]
            reward = float(sample >= samples / 2)
            found.append(
                Trajectory(
                    id=id,
                    group=group,
                    sample=sample,
                    task=Task(f"task-{group}", ({"role": "user", "content": f"Who is it, {group}?"},), ("Bodor",)),
                    prompt=segment("Who is it?", sampled=False),
                    turns=tuple(turns),
                    reward=Reward(reward, reward, {"exact_match": reward}),
                    origin=None,
                )
            )
    root = found[2]
    found[samples - 1] = replace(
        found[samples - 1],
        turns=(root.turns[0], said("it is somebody else", None)),
        origin=BranchPoint(root.id, len(root.prompt) + len(root.turns[0].action) + len(segment(heard, sampled=False))),
    )
    return found


def save_rollouts(folder: Path, trajectories: Sequence[Trajectory] | None = None, **info: Any) -> Path:
    """With what GRPO says of them, and with answer log-probs that rise by 0.5 per turn on every second rollout."""
    trajectories = list(trajectories or rollouts())
    batch = collate(trajectories)
    steps = torch.arange(batch.turn_ends.shape[1]) * 0.5
    answers = torch.where(torch.arange(len(batch))[:, None] % 2 == 0, steps, steps * 0) - 3
    batch = replace(batch, answer_logprobs=answers.masked_fill(batch.turn_ends < 0, float("nan")))
    batch, _ = apply_credit(GRPO(), batch)
    bundle.save(folder, Collection("train", 3, 7, trajectories, batch), TOKENIZER, {"seed": 0, **info})
    return folder
