"""Exact match with any of the accepted answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_agentrl.rewards.base import RewardFunction
from lightning_agentrl.rewards.boxed import answer_of
from lightning_agentrl.rewards.normalize import Normalisation, normalized
from lightning_agentrl.types import Trajectory


@dataclass(frozen=True)
class ExactMatch(RewardFunction):
    """1 if the answer equals an accepted one after normalisation, else 0."""

    normalisation: Normalisation = "squad"
    """How both are cleaned: squad (also A²TGPO's), arpo (the same), igpo, or none: for multiple choice, since the
    others make nothing of an answer such as A or +."""
    boxed: bool = False
    r"""Whether the answer is what stands in its last \boxed{}; without one it then earns 0 (ARPO, A²TGPO)."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "exact_match"

    async def __call__(self, trajectory: Trajectory) -> float:
        """1 or 0; no answer earns 0."""
        return exact_match(answer_of(trajectory, self.boxed), trajectory.task.answers, self.normalisation)


def exact_match(answer: str | None, golden_answers: Sequence[str], normalisation: Normalisation = "squad") -> float:
    """1 if the answer equals an accepted one after normalisation, else 0; no answer earns 0."""
    if answer is None:
        return 0.0
    said = normalized(answer, normalisation)
    return float(any(said == normalized(golden, normalisation) for golden in golden_answers))
