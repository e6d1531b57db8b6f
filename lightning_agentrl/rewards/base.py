"""The contract of a reward, and how a verdict is made of several: outcome, bonuses with weights, gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lightning_agentrl.types import Reward, Trajectory


@dataclass(frozen=True)
class Score:
    """A reward with something to add about how it came about."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    """Numbers that are logged beside it, such as 1 where time ran out and 0 where it did not."""


class RewardFunction(ABC):
    """A number for a finished trajectory: its task has the accepted answers, its turns what was said and heard."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return type(self).__name__

    @abstractmethod
    async def __call__(self, trajectory: Trajectory) -> float | Score:
        """The number, with more numbers for the logger if there are any.

        Raises:
            InfrastructureError: when it could not be found out, through no fault of the policy.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Release processes; a later call may start them again."""


class Gate(ABC):
    """Something without which a trajectory earns a fixed reward, whatever its outcome."""

    @property
    def name(self) -> str:
        """What it is logged as: 1 where it let the trajectory pass, else 0."""
        return type(self).__name__

    @abstractmethod
    def __call__(self, trajectory: Trajectory) -> float | None:
        """The fixed reward, or None to let the trajectory pass."""


@dataclass(frozen=True)
class Bonus:
    """A reward that is added to the outcome with a weight."""

    reward: RewardFunction
    """What is added."""
    weight: float = 1.0
    """Its weight; negative makes it a penalty."""
    when: Literal["always", "success"] = "always"
    """Whether it also counts where the outcome is not positive."""
    label: str | None = None
    """What it is logged as; null takes the reward's own name. Two bonuses of one class need it."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return self.label or self.reward.name


@dataclass(frozen=True)
class Rewards:
    """The verdict: the raw outcome, and a shaped reward = outcome + Σ weight · bonus, or what a gate says instead.

    Every part is logged apart, unweighted, as ``reward/part_<name>``.
    """

    outcome: RewardFunction
    """How well the task was done; success is a value of at least 1."""
    bonuses: Sequence[Bonus] = ()
    """What is added to the outcome."""
    gates: Sequence[Gate] = ()
    """The first one that does not let a trajectory pass decides its shaped reward."""

    def __post_init__(self) -> None:
        names = [self.outcome.name, *(bonus.name for bonus in self.bonuses), *(gate.name for gate in self.gates)]
        if len(set(names)) < len(names):
            raise ValueError(
                f"The parts of a reward need names of their own, got {', '.join(names)}; give bonuses a label."
            )

    async def __call__(self, trajectory: Trajectory) -> Reward:
        """The verdict on a finished trajectory."""
        outcome, parts = await _scored(self.outcome, trajectory, self.outcome.name)
        shaped = outcome
        for bonus in self.bonuses:
            value, further = await _scored(bonus.reward, trajectory, bonus.name)
            parts |= further
            if bonus.when == "always" or outcome > 0:
                shaped += bonus.weight * value
        fixed = {gate.name: gate(trajectory) for gate in self.gates}
        failed = [value for value in fixed.values() if value is not None]
        parts |= {name: float(value is None) for name, value in fixed.items()}
        parts["answered"] = float(trajectory.answer is not None)
        return Reward(outcome, failed[0] if failed else shaped, parts)

    def close(self) -> None:
        """Close the parts."""
        for reward in (self.outcome, *(bonus.reward for bonus in self.bonuses)):
            reward.close()


async def _scored(reward: RewardFunction, trajectory: Trajectory, name: str) -> tuple[float, dict[str, float]]:
    """The number, and everything to be logged about it."""
    score = await reward(trajectory)
    if not isinstance(score, Score):
        score = Score(score)
    return score.value, {name: score.value, **score.parts}
