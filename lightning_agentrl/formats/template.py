"""The dialect of the tokenizer's own chat template: it writes calls and results, and a parser of your choice reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.chat_template import between, call_text, chat_tokens, end_of_turn, ends_of_turn
from lightning_agentrl.formats.encoding import encode, encode_probe, readable, up_to
from lightning_agentrl.formats.json_calls import malformed
from lightning_agentrl.formats.self_test import ARGUMENTS, NAME, check_appending, check_calls
from lightning_agentrl.formats.turn_text import not_run, split_turn
from lightning_agentrl.types import Action, CallError, ParsedCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEVER = re.compile("(?!)")


class CallParser(Protocol):
    """Reads tool calls; lightning_agentrl.engines.tool_parsers.VLLMToolParser is one."""

    def __call__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[ParsedCall]:
        """The calls in a text, control tokens visible; one that cannot be read carries an error."""


@dataclass(frozen=True)
class TemplateFormat(ChatFormat):
    """Calls as the chat template writes them, read by a parser.

    Many parsers were made to serve: what they cannot read they take for plain talk, and a run trains on turns that
    seem to call nothing. So where more looks like calls than was read, the policy is told so.
    """

    parser: CallParser
    """What reads the calls."""
    attempt: str = ""
    r"""Regular expression that finds what looks like a call. Empty takes what the template writes before a tool's name,
    if that holds a word or a control token; where it does not (``[`` of Python lists), give one: ``\A\s*\[\w+\(``."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.attempt)
        except re.error as error:
            raise ValueError(f"attempt must be a regular expression, got {self.attempt!r}: {error}.") from error

    def prompt(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Tokens of the first prompt, rendered by the chat template."""
        return chat_tokens(tokenizer, messages, tools)

    def call(self, tokenizer: PreTrainedTokenizerBase | None, name: str, arguments: Mapping[str, Any]) -> str:
        """A call as the chat template writes it.

        Raises:
            ValueError: without a tokenizer there is no template; or it writes no calls.
        """
        if tokenizer is None:
            raise ValueError("TemplateFormat takes calls from a tokenizer's template; a tiny policy has none yet.")
        return call_text(tokenizer, name, arguments)

    def action(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens of a demonstrated turn."""
        return encode(tokenizer, [(text + end_of_turn(tokenizer), True)], _of(tokenizer).added)

    def probe(self, tokenizer: PreTrainedTokenizerBase, template: str, answer: str) -> tuple[list[int], list[bool]]:
        """Tokens of a turn that gives the answer, up to the answer's last, and which of them are the answer."""
        return encode_probe(tokenizer, template, answer, end_of_turn(tokenizer), _of(tokenizer).added)

    def observation(self, tokenizer: PreTrainedTokenizerBase, results: Sequence[str]) -> list[int]:
        """What the chat template writes when tools answer. Ids of calls, where it wants some, are made up."""
        return encode(tokenizer, between(tokenizer, "tool", len(results)).parts(results), _of(tokenizer).added)

    def message(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """What the chat template writes when the user speaks."""
        return encode(tokenizer, between(tokenizer, "user").parts([text]), _of(tokenizer).added)

    def parse(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Action:
        """Text, calls and answer of a turn, up to its first end-of-turn token.

        Calls in thoughts, behind the first answer or behind the end are ignored, and say so.
        """
        length = up_to(token_ids, self.stop_token_ids(tokenizer))
        text = readable(tokenizer, token_ids[:length])
        turn = split_turn(text, NEVER)
        late = turn.behind + readable(tokenizer, token_ids[length + 1 :])
        thought = [call for each in turn.thoughts for call in self.parser(tokenizer, each.strip())]
        ignored = (
            *not_run(thought, CallError.IN_THOUGHT, "a call inside of <think> is not run; call behind </think>"),
            *not_run(
                self._calls(tokenizer, late), CallError.AFTER_END, "a call behind the end is not run; call before"
            ),
        )
        return Action(text, self._calls(tokenizer, turn.spoken), ignored, turn.answer)

    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """The end of the chat template's turns, and the end of text where that is another token."""
        return ends_of_turn(tokenizer)

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that turns end, that the chat template only appends, and that the parser reads what it writes."""
        if not tokenizer.chat_template:
            raise ValueError("TemplateFormat speaks as a chat template does, and this tokenizer has none.")
        check_appending(self, tokenizer, answers=("user", "structured tool"))
        check_calls(self, tokenizer)

    def _calls(self, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[ParsedCall, ...]:
        text = text.strip()  # parsers of bare JSON or Python look at the beginning
        calls = tuple(self.parser(tokenizer, text)) if text else ()
        attempt = re.compile(self.attempt) if self.attempt else _of(tokenizer).attempt
        if len(attempt.findall(text)) <= len(calls):
            return calls
        example = call_text(tokenizer, "tool_name", {"argument": "value"})
        return (*calls, malformed(CallError.NOT_A_CALL, "what looks like a call cannot be read as one", example))


class _Traits(NamedTuple):
    """What is found out about a tokenizer once."""

    added: tuple[str, ...]
    """Tokens that are no plain text: what tools return must not spell them."""
    attempt: re.Pattern[str]
    """Finds what looks like a call."""


def _of(tokenizer: PreTrainedTokenizerBase) -> _Traits:
    return _traits(tokenizer, str(tokenizer.chat_template))


# The chat template is part of the key: a tokenizer may be given another one.
@lru_cache(maxsize=8)
def _traits(tokenizer: PreTrainedTokenizerBase, template: str) -> _Traits:
    added = tuple(tokenizer.get_added_vocab())
    before = call_text(tokenizer, NAME, ARGUMENTS).partition(NAME)[0].strip()
    controls = [token for token in added if before.startswith(token)]
    if controls:
        return _Traits(added, re.compile(re.escape(max(controls, key=len))))
    words = re.findall(r"\w+|[^\w\s]", before)
    telling = any(map(str.isalnum, words))
    return _Traits(added, re.compile(r"\s*".join(map(re.escape, words))) if telling else NEVER)
