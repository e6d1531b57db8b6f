"""What both sides are given: a policy of some size, and rollouts recorded once, to the token."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.policy import TinyPolicy

SIZES = {"tiny": (128, 2), "small": (256, 4), "base": (512, 8)}
"""Width and depth."""
VOCABULARY = 512
SIBLINGS = 8
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Shape:
    """Of the rollouts of a step, in tokens."""

    prompts: int
    prompt: int
    turns: tuple[int, int]
    """Fewest and most."""
    action: tuple[int, int]
    """Of a turn, shortest and longest."""
    observation: tuple[int, int]
    """Behind all turns but the last."""


SHAPES = {
    "short": Shape(prompts=4, prompt=64, turns=(1, 1), action=(32, 64), observation=(0, 0)),
    "agent": Shape(prompts=2, prompt=1024, turns=(1, 6), action=(16, 48), observation=(32, 64)),
}


@dataclass(frozen=True)
class Rollout:
    """One of them: what was said, with whose tokens it was, and what it earned."""

    group: int
    prompt: list[int]
    completion: list[int]
    sampled: list[int]
    """1 for a token of the policy, 0 for one of the environment."""
    reward: float


def make_policy(size: str, folder: Path) -> Path:
    """Write a random Qwen3 policy with its tokenizer, unless it is there."""
    if not (folder / "config.json").is_file():
        tokenizer = train_tokenizer(["Which of both sides is faster?", '{"name": "search", "arguments": {}}'], 320)
        torch.manual_seed(0)
        width, depth = SIZES[size]
        shape = TinyPolicy(vocab_size=VOCABULARY, hidden_size=width, layers=depth, context=4096)
        shape.build(tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def record(shape: str, path: Path) -> list[Rollout]:
    """Random tokens in the lengths of the shape, the same each time; half of each group succeeds."""
    chance, size = random.Random(0), SHAPES[shape]

    def tokens(count: int) -> list[int]:
        return [chance.randrange(20, 300) for _ in range(count)]

    rollouts = []
    for group in range(size.prompts):
        prompt = tokens(size.prompt)
        rewards = chance.sample([1.0, 0.0] * (SIBLINGS // 2), SIBLINGS)
        for reward in rewards:
            completion: list[int] = []
            sampled: list[int] = []
            turns = chance.randint(*size.turns)
            for turn in range(turns):
                said = tokens(chance.randint(*size.action))
                heard = tokens(chance.randint(*size.observation)) if turn < turns - 1 else []
                completion += said + heard
                sampled += [1] * len(said) + [0] * len(heard)
            rollouts.append(Rollout(group, prompt, completion, sampled, reward))
    path.write_text(json.dumps([asdict(rollout) for rollout in rollouts]))
    return rollouts


def read(path: Path) -> list[Rollout]:
    """What `record` wrote."""
    return [Rollout(**rollout) for rollout in json.loads(path.read_text())]
