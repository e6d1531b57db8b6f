"""What is left of a text when answers are compared, as each benchmark or paper cleans it."""

from __future__ import annotations

import re
import string
from typing import Literal

try:  # private there, but the reference for exact match and F1; importing it keeps us equal to the published metric
    from torchmetrics.functional.text.squad import _normalize_text
except ImportError as error:
    raise ImportError(
        "This torchmetrics has no SQuAD normalisation where we look for it; install torchmetrics 1.9."
    ) from error

Normalisation = Literal["squad", "arpo", "igpo", "none"]
"""``squad`` and ``arpo`` clean a text alike; they differ in what `token_f1` makes of it."""

PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def normalized(text: str, normalisation: Normalisation = "squad") -> str:
    r"""A text as it is compared.

    - ``squad``, ``arpo``: lower case, ASCII punctuation deleted, then the words a, an and the; blanks collapsed.
      ``3\sqrt{3}-6`` becomes ``3sqrt36``, a multiple-choice answer ``A`` nothing at all.
    - ``igpo``: lower case, each ASCII punctuation mark a blank, articles kept; ``3\sqrt{3}-6`` becomes ``3 sqrt 3 6``.
    - ``none``: only the blanks at both ends go.
    """
    if normalisation == "none":
        return text.strip()
    if normalisation == "igpo":
        return " ".join(PUNCTUATION.sub(" ", text.lower()).split())
    return str(_normalize_text(text))


def mentions(text: str, answer: str) -> bool:
    """Whether the words of an answer occur side by side in a text, after normalisation of both."""
    words = normalized(answer)
    return bool(words) and f" {words} " in f" {normalized(text)} "
