"""Exact match with any of the accepted answers."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_agentrl.rewards.normalize import normalized


def exact_match(answer: str | None, golden_answers: Sequence[str]) -> float:
    """1 if the answer equals an accepted one after SQuAD normalisation, else 0; no answer earns 0."""
    if answer is None:
        return 0.0
    return float(any(normalized(answer) == normalized(golden) for golden in golden_answers))
