"""Overlap of words with the best of the accepted answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lightning_agentrl.rewards.normalize import normalized


def token_f1(answer: str | None, golden_answers: Sequence[str]) -> float:
    """Greatest F1 of the answer's words against an accepted answer's, in [0, 1], as SQuAD counts it.

    No answer earns 0. Where one side has no words left after normalisation, F1 is 1 if the other has none either.
    """
    if answer is None:
        return 0.0
    return max((_f1(normalized(answer).split(), normalized(golden).split()) for golden in golden_answers), default=0.0)


def _f1(predicted: Sequence[str], golden: Sequence[str]) -> float:
    if not predicted or not golden:
        return float(predicted == golden)
    common = sum((Counter(predicted) & Counter(golden)).values())
    return 2 * common / (len(predicted) + len(golden))  # = 2PR / (P + R)
