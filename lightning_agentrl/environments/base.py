"""The contract of an environment (shared, stateless) and of an episode (one per trajectory)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_agentrl.tools.base import Tool
from lightning_agentrl.types import Action, Reward, Task, ToolCall, Trajectory, Turn

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Observation:
    """What the environment answers to one turn of the policy."""

    results: tuple[str, ...] = ()
    """Texts to show, one per tool call (or one for the turn); empty when the episode is over."""
    message: str | None = None
    """Instead of results: what the user says next, in environments whose actions are no tool calls."""
    done: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    reward: float = 0.0
    penalty: float = 0.0
    state_key: int | None = None
    """Identity of the state that the next turn starts from; None lets the sampler hash the text."""


class Unforkable(RuntimeError):
    """The episode can neither be cloned nor replayed."""


class Episode(ABC):
    """One trajectory's side of the environment."""

    @abstractmethod
    async def step(self, action: Action) -> Observation:
        """Answer one turn of the policy.

        Raises:
            InfrastructureError: when what the episode runs on failed. The state is then rebuilt in a fresh episode.
        """

    @abstractmethod
    async def reward(self, trajectory: Trajectory) -> Reward:
        """The verdict, once the trajectory has ended for whatever reason."""

    async def fork(self) -> Episode:
        """An independent copy in the same state."""
        raise Unforkable(f"{type(self).__name__} does not implement fork().")

    async def close(self) -> None:  # noqa: B027 - optional
        """Release what the episode holds; called exactly once."""


class Environment(ABC):
    """Tasks, tools and episodes. Shared by all trajectories, so it keeps no state of theirs."""

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that the policy is told about; none by default."""
        return ()

    @property
    def answer_template(self) -> str:
        """What the policy writes to answer, ``{answer}`` in the answer's place; information gain scores it."""
        return "<answer> {answer} </answer>"

    @property
    def gives_turn_rewards(self) -> bool | None:
        """Whether turns may earn rewards or penalties of their own; None if that is not known beforehand."""
        return None

    @property
    def demonstrations(self) -> Path | None:
        """Conversations for a cold start (JSONL of chat messages), once `prepare` has run; None when there are none."""
        return None

    def prepare(self) -> None:  # noqa: B027 - optional
        """Write or download data; called on one process of a machine, before `tasks`."""

    @abstractmethod
    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, in a fixed order."""

    @abstractmethod
    async def open(self, task: Task, seed: int) -> Episode:
        """Start an episode. All trajectories of a group get the same task and the same seed."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release processes and connections that episodes share; they may be opened again afterwards."""

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode | None:
        """An episode in the state that these turns led to, for branches of rollouts that are over.

        None, the default, has it opened afresh and the turns' actions replayed, tools included; should the answers
        differ then, the branch is refused.
        """
        return None
