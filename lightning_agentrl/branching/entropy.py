"""Branches after tool results, where the policy became less sure of itself (ARPO, AEPO)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from lightning_agentrl.branching.base import Branching, Frontier
from lightning_agentrl.types import BranchPoint, Trajectory, Turn


@dataclass(frozen=True)
class EntropyBranching(Branching):
    """Forks after a tool result with probability clip(α + w·ΔH, 0, 1) (arXiv:2507.19849, §3.1).

    H of a turn is the mean entropy of its first k tokens over ln V, estimated from the engine's top-k with the rest as
    one symbol; ΔH compares it with the trajectory's first turn, which a branch inherits. A fork re-samples the turn
    that was judged, from right behind the tool result. N roots start, and what is left of the budget M when nothing is
    live any more goes to further roots at once.

    Deviations from the paper, which the released code shares: chance decides, where the paper compares α + w·ΔH with a
    threshold (``rule="threshold"``). From the released code: H is a mean over ln V and not a sum; the turn behind the
    newest result is judged and forked, where the code judges the one before and forks behind; the first turn of a
    trajectory is no candidate, since nothing precedes it; candidates come in random order, not in that of their slots.
    """

    initial_roots: int | None = None
    """N: trajectories that start at the prompt; null takes half of the budget, rounded up."""
    base: float = 0.5
    """α: probability of a fork when the entropy did not change."""
    weight: float = 0.2
    """w: how much a change of the entropy, in units of ln V, adds to it."""
    rule: Literal["bernoulli", "threshold"] = "bernoulli"
    """Fork with that probability, or whenever it exceeds ``threshold``."""
    threshold: float = 0.5
    """τ of ``rule="threshold"``."""
    tokens: int = 20
    """k: tokens at the start of a turn whose entropies are averaged."""
    top_k: int = 10
    """Size of the engine's top-k behind the entropies."""
    attempts: int = 1
    """Z: attempts to fork per candidate."""
    order: Literal["random", "ranked"] = "random"
    """In which order candidates spend the budget: at random, or by falling ΔH."""
    penalty: float = 0.0
    """λ: how much forks in a row lower the probability of the next one (AEPO, arXiv:2510.14545); 0 is ARPO."""
    penalty_form: Literal["paper", "released"] = "paper"
    """Factor (1 − λ·l) on the probability, l the trajectory's own turns in a row; or the released code's rule."""
    split: float | None = None
    """β of AEPO's budget split: a first root runs alone, then N = M·σ(β·(H of its first turn − mean H of the rest))."""

    def __post_init__(self) -> None:
        roots = 1 if self.initial_roots is None else self.initial_roots
        if min(roots, self.tokens, self.top_k, self.attempts) < 1:
            raise ValueError(
                f"EntropyBranching needs initial_roots, tokens, top_k and attempts of at least 1, got "
                f"{self.initial_roots}, {self.tokens}, {self.top_k} and {self.attempts}."
            )
        if not 0 <= self.base <= 1 or self.penalty < 0:
            raise ValueError(
                f"EntropyBranching needs base in [0, 1] and penalty ≥ 0, got {self.base} and {self.penalty}."
            )
        if self.rule == "bernoulli" and self.threshold != 0.5:
            raise ValueError(f"EntropyBranching.threshold={self.threshold} is read with rule=threshold only.")
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"EntropyBranching.threshold must lie in [0, 1), got {self.threshold}: no probability exceeds 1."
            )
        if self.split is not None and self.initial_roots is not None:
            raise ValueError("EntropyBranching.split decides the number of roots; leave initial_roots out.")

    @property
    def top_logprobs(self) -> int:
        """What the entropies are estimated from."""
        return self.top_k

    @property
    def pilot(self) -> bool:
        """With a budget split."""
        return self.split is not None

    def initial(self, budget: int) -> int:
        """N."""
        roots = (budget + 1) // 2 if self.initial_roots is None else self.initial_roots
        if roots > budget:
            raise ValueError(
                f"EntropyBranching starts {roots} roots (initial_roots), and the budget data.group_size is {budget}."
            )
        return roots

    def roots(self, pilot: Trajectory, budget: int, vocabulary: int) -> int:
        """AEPO's split: many roots where the prompt is uncertain, many branches where the tools' results are."""
        assert self.split is not None
        first, *rest = (self._entropy(turn, vocabulary) for turn in pilot.turns)
        gap = self.split * (first - fmean(rest or [first]))
        return min(max(int(budget / (1 + math.exp(-gap))) + 1, 1), budget)

    def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
        """Candidates in order, each tried ``attempts`` times, until the budget is spent."""
        candidates = [trajectory for trajectory in frontier.trajectories if len(trajectory.turns) > 1]
        rises = {
            trajectory.id: self._entropy(trajectory.turns[-1], frontier.vocabulary)
            - self._entropy(trajectory.turns[0], frontier.vocabulary)
            for trajectory in candidates
        }
        if self.order == "random":
            rng.shuffle(candidates)
        else:
            candidates.sort(key=lambda trajectory: -rises[trajectory.id])
        points: list[BranchPoint] = []
        for trajectory in candidates:
            chance = self.probability(rises[trajectory.id], self._in_a_row(trajectory, frontier))
            for _ in range(self.attempts):
                if len(points) < frontier.budget and self._decide(chance, rng):
                    points.append(BranchPoint(trajectory.id, starts(trajectory)[-1], rises[trajectory.id]))
        return points

    def probability(self, rise: float, in_a_row: int = 0) -> float:
        """Chance of a fork, or with ``rule="threshold"`` what is compared with it.

        Args:
            rise: ΔH.
            in_a_row: how many forks in a row precede this one.
        """
        factor = max(1 - self.penalty * in_a_row, 0.0)
        if factor == 0:
            return 0.0
        if self.penalty_form == "paper":
            return min(max((self.base + self.weight * rise) * factor, 0.0), 1.0)
        return min(max(1 - ((1 - self.base) / factor - self.weight * rise), 0.0), 1.0)

    def _decide(self, chance: float, rng: random.Random) -> bool:
        return rng.random() < chance if self.rule == "bernoulli" else chance > self.threshold

    def _entropy(self, turn: Turn, vocabulary: int) -> float:
        """H of a turn, in [0, 1]."""
        if turn.action.entropies is None:
            raise ValueError("EntropyBranching needs entropies of the sampled tokens, and this engine gave none.")
        return fmean(turn.action.entropies[: self.tokens]) / math.log(vocabulary)

    def _in_a_row(self, trajectory: Trajectory, frontier: Frontier) -> int:
        """Turns in a row before the last one that were forked; in the released form rounds of the prompt."""
        if not self.penalty:
            return 0
        if self.penalty_form == "released":
            forked = [bool(points) for points in frontier.rounds]
        else:
            columns = _forked_columns(trajectory, frontier)
            forked = [start in columns for start in starts(trajectory)[:-1]]
        return next((count for count, hit in enumerate(reversed(forked)) if not hit), len(forked))


def _forked_columns(trajectory: Trajectory, frontier: Frontier) -> set[int]:
    """Columns at which the trajectory was forked, or an ancestor in the part that it inherited."""
    columns: set[int] = set()
    line, end = trajectory.id, math.inf
    while True:
        points = (point for points in frontier.rounds for point in points if point.parent == line)
        columns |= {point.column for point in points if point.column <= end}
        if line not in frontier.origins:
            return columns
        line, end = frontier.origins[line].parent, frontier.origins[line].column


def starts(trajectory: Trajectory) -> list[int]:
    """Column at which each turn starts."""
    result, column = [], len(trajectory.prompt)
    for turn in trajectory.turns:
        result.append(column)
        column += len(turn.action) + (len(turn.observation) if turn.observation else 0)
    return result
