"""SQuAD normalisation of answers, as torchmetrics does it."""

from __future__ import annotations

try:  # private there, but the reference for exact match and F1; importing it keeps us equal to the published metric
    from torchmetrics.functional.text.squad import _normalize_text
except ImportError as error:
    raise ImportError(
        "This torchmetrics has no SQuAD normalisation where we look for it; install torchmetrics 1.9."
    ) from error


def normalized(text: str) -> str:
    """Lower case, without punctuation, articles and repeated blanks."""
    return str(_normalize_text(text))


def mentions(text: str, answer: str) -> bool:
    """Whether the words of an answer occur side by side in a text, after normalisation of both."""
    words = normalized(answer)
    return bool(words) and f" {words} " in f" {normalized(text)} "
