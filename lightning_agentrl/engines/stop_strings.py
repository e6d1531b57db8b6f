"""Texts that end a completion, for engines that have tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_agentrl.engines.base import SamplingParams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StopStrings:
    """Says after each token whether one of some texts is now complete."""

    def __init__(self, strings: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self._strings = tuple(strings)
        self._tokenizer = tokenizer
        # A token is at least a byte long, save for the first of the window, which may be the rest of a character.
        self._window = max((len(text.encode()) for text in strings), default=0) + 3

    def end(self, token_ids: Sequence[int]) -> bool:
        """Whether the newest token completes one; to be asked after every token."""
        if not self._strings:
            return False
        text = self._tokenizer.decode(list(token_ids[-self._window :]), skip_special_tokens=False)
        return any(string in text for string in self._strings)


def check_stop_strings(params: SamplingParams, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Raise a ValueError when there are stop strings and no tokenizer to recognize them with."""
    if params.stop_strings and tokenizer is None:
        raise ValueError(
            f"An engine needs a tokenizer to stop at {', '.join(params.stop_strings)}; pass EngineSetup.tokenizer when "
            f"it is started."
        )
