"""Tokens as pieces of text that put together give the whole text again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "�"
"""What a decoder shows for bytes that are not a whole character yet."""


class Pieces:
    """Splits token ids into text, one piece per token; remembers what it has decoded."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[tuple[int, ...], str] = {}

    def __call__(self, token_ids: Sequence[int]) -> list[str]:
        """The piece of each token; a character that several tokens share belongs to the last of them."""
        pieces: list[str] = []
        before: tuple[int, ...] = ()
        pending: tuple[int, ...] = ()
        for token in token_ids:
            pending = (*pending, token)
            # Some tokenizers drop the blank before a word that stands alone, hence the look back.
            text = self._text((*before, *pending))[len(self._text(before)) :]
            if text.endswith(UNFINISHED) and len(pending) < 4:  # no character of UTF-8 has more bytes
                pieces.append("")
            else:
                pieces.append(text)
                before, pending = (token,), ()
        if pending and pieces:
            pieces[-1] = self._text((*before, *pending))[len(self._text(before)) :]
        return pieces

    def _text(self, ids: tuple[int, ...]) -> str:
        if ids not in self._texts:
            self._texts[ids] = str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)) if ids else ""
        return self._texts[ids]
