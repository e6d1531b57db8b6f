"""Finished trajectories in one readable call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from lightning_agentrl.rewards.base import RewardFunction, Rewards, Score
from lightning_agentrl.types import CallError, Reward, Segment, StopReason, Task, ToolCall, Trajectory, Turn


def turn(text: str, *results: str, calls: Sequence[tuple[str, str | CallError | None]] = (), tokens: int = 1) -> Turn:
    """A turn of the policy, with what answered it. Calls are pairs of a tool's name and the kind of failure or None."""
    made = tuple(ToolCall(name, {}, kind is None, kind) for name, kind in calls)
    answers = re.findall("<answer>(.*?)</answer>", text.rpartition("</think>")[2], re.DOTALL)
    observation = Segment((2,), sampled=False) if results else None
    action = Segment((1,) * tokens, sampled=True, logprobs=(-1.0,) * tokens)
    return Turn(action, observation, made, text=text, results=results, answer=answers[-1].strip() if answers else None)


def told(
    *turns: Turn | str, golden: Sequence[str] = (), stop: StopReason = StopReason.FINISHED, prompt: str = "Solve."
) -> Trajectory:
    """A trajectory of these turns."""
    task = Task("task", ({"role": "user", "content": prompt},), tuple(golden))
    spoken = tuple(turn(said) if isinstance(said, str) else said for said in turns)
    return Trajectory(1, 0, 0, task, Segment((1,), sampled=False), spoken, stop=stop)


def answered(answer: str, *golden: str) -> Trajectory:
    """A trajectory of one turn that answers."""
    return told(f"<answer> {answer} </answer>", golden=golden)


def value(reward: RewardFunction, trajectory: Trajectory) -> float:
    """The number that a reward function gives."""
    score = asyncio.run(_value(reward, trajectory))
    return score.value if isinstance(score, Score) else score


def verdict(rewards: Rewards, trajectory: Trajectory) -> Reward:
    """What the composition says."""
    return asyncio.run(_value(rewards, trajectory))


def from_yaml(text: str) -> Rewards:
    """The composition that a configuration file asks for."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--reward", type=Rewards)
    settings = parser.parse_string(text)
    rewards: Rewards = parser.instantiate(settings).reward
    return rewards


async def _value(judge: Any, trajectory: Trajectory) -> Any:
    return await judge(trajectory)
