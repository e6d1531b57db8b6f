"""The contract of a brancher: where rollouts of one prompt part."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Bool
from torch import Tensor

from lightning_agentrl.types import BranchPoint, RolloutBatch, Signal, Trajectory

Schedule = Literal["collection", "halves", "steps"]


@dataclass(frozen=True)
class Frontier:
    """The live trajectories of one prompt, once each of them has said its next turn, which nothing answered yet."""

    trajectories: Sequence[Trajectory]
    """The turn that is to be judged is the last one of each."""
    budget: int
    """How many more trajectories the prompt may have."""
    vocabulary: int
    """Number of tokens, which bounds an entropy by its logarithm."""
    rounds: Sequence[Sequence[BranchPoint]] = ()
    """Branches opened so far, by round."""
    origins: Mapping[int, BranchPoint] = field(default_factory=dict)
    """Where each branch of the prompt left its parent, finished ones included, by the branch's id."""


class Branching(ABC):
    """Spends a budget of M trajectories per prompt.

    Online branchers override `after_turn`, post-hoc ones `after_group`. Both are pure given ``rng``, and whatever of
    the budget they leave is spent on further roots, so that a prompt always has exactly M leaves.
    """

    @property
    def requires(self) -> Signal:
        """Signals that `after_group` needs in its batch."""
        return Signal.NONE

    @property
    def top_logprobs(self) -> int:
        """Size of the top-k from which the engine estimates entropies while it samples; 0 asks for none."""
        return 0

    @property
    def schedule(self) -> Schedule:
        """When `after_group` is asked.

        Once per collection; for the second half of the prompts, after the update on the first (``halves``); or before
        every optimizer step, for its prompts (``steps``).
        """
        return "collection"

    @property
    def least_room(self) -> int:
        """Tokens that turn and context must still hold behind a branch of `after_group`."""
        return 1

    @property
    def ahead(self) -> int:
        """Columns from the token that such a branch is chosen by to where it starts."""
        return 0

    @property
    def splits_calls(self) -> bool:
        """Whether such a branch may start inside of a tool call."""
        return True

    @property
    def pilot(self) -> bool:
        """Whether one root runs to its end before `roots` decides how many there are."""
        return False

    @abstractmethod
    def initial(self, budget: int) -> int:
        """How many roots to start for a prompt whose budget is ``budget`` trajectories."""

    def roots(self, pilot: Trajectory, budget: int, vocabulary: int) -> int:
        """How many roots a prompt gets in view of its first one; asked where `pilot` says so."""
        return self.initial(budget)

    def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
        """Branches to open once every live trajectory of a prompt has said its next turn, at most the budget."""
        return []

    def after_group(
        self, batch: RolloutBatch, open_at: Bool[Tensor, "N T"], budget: int, rng: random.Random
    ) -> list[BranchPoint]:
        """Branches to open at any token of one prompt's finished rollouts, at most the budget.

        Args:
            batch: the prompt's roots, with the signals of `requires`.
            open_at: tokens that a branch could be chosen by: neither blanks nor punctuation alone, outside of calls
                unless it `splits_calls`, and `ahead` of them a token of the same turn with `least_room` behind it.
            budget: most branches.
            rng: the only source of chance.
        """
        return []

    def describe(self, batch: RolloutBatch) -> dict[str, float]:
        """Numbers to log about the roots that `after_group` was asked about."""
        return {}
