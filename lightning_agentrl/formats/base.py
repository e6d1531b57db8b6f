"""The contract of a chat format: messages and tool calls on one side, tokens on the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_agentrl.types import Action

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatFormat(ABC):
    """Turns messages into tokens once, and never back into messages: history is never re-rendered."""

    @abstractmethod
    def prompt(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Tokens of the first prompt, up to where the policy starts to speak."""

    @abstractmethod
    def call(self, tokenizer: PreTrainedTokenizerBase | None, name: str, arguments: Mapping[str, Any]) -> str:
        """A tool call as the policy is to write it (for demonstrations).

        Args:
            tokenizer: the policy's; None while it is yet to be trained, on such texts.
            name: of the tool.
            arguments: by name.

        Raises:
            ValueError: when the format cannot write it.
        """

    @abstractmethod
    def action(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens of a turn spoken by the policy, its end-of-turn token included (for demonstrations)."""

    @abstractmethod
    def observation(self, tokenizer: PreTrainedTokenizerBase, results: Sequence[str]) -> list[int]:
        """Tokens that follow a turn: what the tools returned, up to where the policy speaks again.

        Text is encoded so that it cannot forge control tokens.
        """

    @abstractmethod
    def message(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens that follow a turn where the user speaks next instead of a tool, encoded as safely."""

    @abstractmethod
    def parse(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Action:
        """What the sampled tokens of one turn mean. Malformed calls come back with an error, never as no call."""

    @abstractmethod
    def probe(self, tokenizer: PreTrainedTokenizerBase, template: str, answer: str) -> tuple[list[int], list[bool]]:
        """Tokens of a turn in which the policy gives ``answer``, up to the answer's end, and which of them are it.

        Args:
            tokenizer: the policy's.
            template: what the policy would write, ``{answer}`` where the answer goes; its markers are control tokens.
            answer: plain text, tokenised together with what surrounds it, as the policy would.
        """

    def inside_calls(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Which tokens of a turn lie within a tool call, its opening tag left out: none, unless a format knows."""
        return [False] * len(token_ids)

    def inside_stops(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Before which tokens of a turn a stop string has begun; where a branch completes it, engines do not see it."""
        return [False] * len(token_ids)

    @abstractmethod
    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Tokens that end the policy's turn."""

    def stop_strings(self, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
        """Texts that end the policy's turn as well; none, unless a format cannot do with tokens."""
        return ()

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that a tokenizer made for this format holds as single tokens, besides Hermes' own."""
        return ()

    @abstractmethod
    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise a ValueError when the tokenizer cannot speak this format."""
