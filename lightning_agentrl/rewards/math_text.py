r"""What of an answer is compared as mathematics, written so that a LaTeX parser takes it as a whole.

A parser that is let loose on a whole answer picks a number out of it: of ``3\sqrt{3}-6`` it may take the 3 and of
"5 or 6" the 6, so that a policy could hedge. Here an answer is one expression, or it is wrong.
"""

from __future__ import annotations

import re

from lightning_agentrl.rewards.boxed import boxed

DELIMITED = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
SCIENTIFIC = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[eE]([+-]?\d+)")
WORDS = re.compile(r"(?=.*[^\W\d_]{4})[^\W\d_]+(?: [^\W\d_]+)*")
"""Words alone, of which one at least is too long to be a product of variables."""


def expression(text: str) -> str:
    """The one expression of an answer: what is boxed, else what is set as mathematics, else all of it."""
    inner = boxed(text)
    if inner is None:
        found = DELIMITED.findall(text)
        inner = "".join(found[0]) if len(found) == 1 else text
    return inner.strip().removesuffix(".").strip()


def latex(text: str) -> str:
    r"""An expression as LaTeX: numbers such as 1e-05 (Python's way) with a power of ten, words as ``\text{…}``.

    A LaTeX parser would read the e as Euler's number, and a word as the product of its letters, equal to any anagram.
    """
    if match := SCIENTIFIC.fullmatch(text):
        return f"{match[1]} \\times 10^{{{int(match[2])}}}"
    return f"\\text{{{text}}}" if WORDS.fullmatch(text) else text
