"""Text as a policy is shown it: of bounded length, and such as a tokenizer takes."""

from __future__ import annotations


def sound(text: str) -> str:
    """The text with half surrogate pairs, which a policy may well write and no tokenizer takes, as question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def bounded(text: str, max_characters: int) -> tuple[str, bool]:
    """The sound text, its end cut off and that said where it has more characters; and whether it was cut off."""
    cut = len(text) > max_characters
    return sound(f"{text[:max_characters]} [cut off]" if cut else text), cut
