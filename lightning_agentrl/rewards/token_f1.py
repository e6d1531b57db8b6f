"""Overlap of words with the best of the accepted answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_agentrl.rewards.base import RewardFunction
from lightning_agentrl.rewards.boxed import answer_of
from lightning_agentrl.rewards.normalize import Normalisation, normalized
from lightning_agentrl.types import Trajectory

WHOLE_ANSWERS = frozenset({"yes", "no", "noanswer"})
"""Answers that nothing but themselves comes near to (HotpotQA's rule, which ARPO follows)."""


@dataclass(frozen=True)
class TokenF1(RewardFunction):
    """Greatest F1 of the answer's words against an accepted answer's, in [0, 1]."""

    normalisation: Normalisation = "squad"
    """How words are made and counted: squad, arpo (yes and no must match exactly), igpo (sets of words) or none."""
    boxed: bool = False
    r"""Whether the answer is what stands in its last \boxed{}; without one it then earns 0 (ARPO)."""

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "token_f1"

    async def __call__(self, trajectory: Trajectory) -> float:
        """F1; no answer earns 0."""
        return token_f1(answer_of(trajectory, self.boxed), trajectory.task.answers, self.normalisation)


def token_f1(answer: str | None, golden_answers: Sequence[str], normalisation: Normalisation = "squad") -> float:
    """Greatest F1 of the answer's words against an accepted answer's, in [0, 1]; no answer earns 0.

    - ``squad``: a word counts as often as it occurs. Where one side has no words left, F1 is 1 if the other has none
      either.
    - ``arpo`` (arXiv:2507.19849, Eq. 8): the same words, but no words left earn 0, and where either side is yes, no or
      noanswer, the two must be equal.
    - ``igpo`` (arXiv:2510.14967): each word counts once, however often it occurs.
    """
    if answer is None:
        return 0.0
    said = normalized(answer, normalisation)
    golden = (normalized(text, normalisation) for text in golden_answers)
    return max((_f1(said, accepted, normalisation) for accepted in golden), default=0.0)


def _f1(said: str, accepted: str, normalisation: Normalisation) -> float:
    if normalisation == "arpo" and said != accepted and WHOLE_ANSWERS & {said, accepted}:
        return 0.0
    predicted, golden = Counter(said.split()), Counter(accepted.split())
    if not predicted or not golden:
        return float(predicted == golden and normalisation != "arpo")
    if normalisation == "igpo":
        predicted, golden = Counter(set(predicted)), Counter(set(golden))
    return 2 * (predicted & golden).total() / (predicted.total() + golden.total())  # = 2PR / (P + R)
