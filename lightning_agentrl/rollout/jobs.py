"""What is to be rolled out, and within which limits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lightning_agentrl.types import Task


@dataclass(frozen=True)
class Limits:
    """Where a trajectory is cut. Turn and context are two settings that mean two things."""

    max_turns: int
    max_turn_tokens: int
    """Tokens that the policy may say in one turn."""
    max_model_len: int
    """Tokens of prompt, actions and observations together."""

    @property
    def longest(self) -> int:
        """Most tokens that the policy may say in a trajectory."""
        return min(self.max_turns * self.max_turn_tokens, self.max_model_len)

    def __post_init__(self) -> None:
        for name in ("max_turns", "max_turn_tokens", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_turn_tokens >= self.max_model_len:
            raise ValueError(
                f"max_turn_tokens ({self.max_turn_tokens}) must be smaller than max_model_len ({self.max_model_len}): "
                f"the context holds the prompt and every turn."
            )


@dataclass(frozen=True)
class Job:
    """One prompt to roll out: a task, its number in the collection, and how many trajectories."""

    task: Task
    group: int
    samples: int
    first_sample: int = 0
    """Number of its first trajectory: a task that comes twice in an epoch must not come with the same seeds."""


def stable_seed(*parts: object) -> int:
    """63 bits that depend on the parts alone, the same on every machine and run."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
