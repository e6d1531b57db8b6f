"""What several credit assigners say of the same rollouts, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.credit.apply import apply_credit, uncredited
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.credit.diagnostics import correlation, describe
from lightning_agentrl.ops import turn_mean, turn_sum
from lightning_agentrl.types import RolloutBatch, Signal


@dataclass(frozen=True)
class Opinion:
    """One assigner's credit for a batch."""

    label: str
    batch: RolloutBatch
    """With advantages, loss mask and components."""
    numbers: dict[str, float]
    """Those that training logs, without their prefix."""

    @property
    def turns(self) -> Float[Tensor, "N K"]:
        """Mean advantage over the trained tokens of each turn; 0 for a turn without any."""
        assert self.batch.advantages is not None
        return turn_mean(self.batch.advantages, self._trained_ids, self.batch.turn_mask.shape[1])

    @property
    def trained(self) -> Bool[Tensor, "N K"]:
        """Which turns have a trained token."""
        ones = torch.ones_like(self.batch.turn_ids)
        return turn_sum(ones, self._trained_ids, self.batch.turn_mask.shape[1]) > 0

    @property
    def drift(self) -> float:
        """Mean credit that a turn has for coming late, per turn: slope of credit over the turn's number.

        An estimate of bias: over many groups the mean advantage of a turn should not depend on whether it is the
        first or the fourth; where it grows, going on is rewarded whatever comes of it.
        """
        rows, turns = self.trained.nonzero(as_tuple=True)
        if len(turns) < 2 or bool((turns == turns[0]).all()):
            return 0.0
        x, y = turns.double() - turns.double().mean(), self.turns[rows, turns].double()
        return float((x * (y - y.mean())).sum() / x.square().sum())

    @property
    def _trained_ids(self) -> Tensor:
        return torch.where(self.batch.trainable, self.batch.turn_ids, -1)


@dataclass(frozen=True)
class Agreement:
    """How far two assigners agree on the turns that both train."""

    first: str
    second: str
    turns: int
    """How many these are."""
    sign_flips: float
    """Share of them that one reinforces and the other discourages."""
    one_sided: float
    """Share of them that one leaves alone (credit 0) and the other does not."""
    rank_correlation: float
    """Spearman's, with ties at their mean rank; 0 where one side does not vary."""


def missing(assigner: CreditAssigner, batch: RolloutBatch) -> Signal:
    """Signals that an assigner needs and the batch does not hold."""
    lacking = Signal.NONE
    for signal in assigner.requires:
        if getattr(batch, signal.field_names[0]) is None:
            lacking |= signal
    return lacking


def ask(batch: RolloutBatch, assigners: Sequence[CreditAssigner]) -> list[Opinion]:
    """Every assigner's credit, each starting from what the first one in training started from.

    Raises:
        ValueError: when a signal is missing, naming it and who needs it.
    """
    offered = uncredited(batch)
    opinions = []
    for label, assigner in zip(labels(assigners), assigners, strict=True):
        credited, numbers = apply_credit(assigner, offered)
        shorter = {name.removeprefix("credit/"): value for name, value in numbers.items()}
        opinions.append(Opinion(label, credited, shorter))
    return opinions


def saved_opinion(batch: RolloutBatch, label: str) -> Opinion:
    """The credit that rollouts were trained with and saved with."""
    return Opinion(label, batch, {name: float(value) for name, value in describe(batch).items()})


def labels(assigners: Sequence[CreditAssigner]) -> list[str]:
    """A short name for each: its class, what it wraps, and its settings where the class alone is not enough."""
    short = [_name(assigner) for assigner in assigners]
    spelled = [repr(a) if short.count(name) > 1 else name for a, name in zip(assigners, short, strict=True)]
    return [f"{name} #{n + 1}" if spelled.count(name) > 1 else name for n, name in enumerate(spelled)]


def _name(assigner: CreditAssigner) -> str:
    name = type(assigner).__name__
    return name if assigner.wrapped is None else f"{name}({_name(assigner.wrapped)})"


def agreements(opinions: Sequence[Opinion]) -> list[Agreement]:
    """Of every pair, in order."""
    return [agreement(first, second) for first, second in combinations(opinions, 2)]


def agreement(first: Opinion, second: Opinion) -> Agreement:
    """How far two opinions agree."""
    both = first.trained & second.trained
    a, b = first.turns[both], second.turns[both]
    count = max(len(a), 1)
    return Agreement(
        first=first.label,
        second=second.label,
        turns=len(a),
        sign_flips=float((a.sign() * b.sign() < 0).sum()) / count,
        one_sided=float(((a == 0) != (b == 0)).sum()) / count,
        rank_correlation=float(correlation(ranks(a), ranks(b))),
    )


def ranks(values: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """Ranks from 0, equal values at the mean of theirs."""
    _, place, counts = values.unique(sorted=True, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    middle: Tensor = ends.double() - (counts.double() + 1) / 2
    return middle[place]
