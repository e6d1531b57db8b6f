"""The Hermes dialect that Qwen speaks: JSON calls in <tool_call> tags, results in <tool_response> tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.chat_template import chat_tokens, opening
from lightning_agentrl.formats.encoding import encode, encode_probe, readable, token_id, up_to
from lightning_agentrl.formats.json_calls import NAMED, malformed, read_call, write_call
from lightning_agentrl.formats.self_test import check_appending, check_calls
from lightning_agentrl.formats.turn_text import not_run, split_turn
from lightning_agentrl.types import Action, CallError, ParsedCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class HermesFormat(ChatFormat):
    """Hermes / Qwen chat tokens. Each call has a tag of its own; several in one turn are run side by side."""

    start_of_turn: str = "<|im_start|>"
    """Token that opens a turn."""
    end_of_turn: str = "<|im_end|>"
    """Token that ends a turn."""
    tool_call: str = "tool_call"
    """Name of the tag around a call."""
    tool_response: str = "tool_response"
    """Name of the tag around a result."""

    def prompt(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Tokens of the first prompt, rendered by the tokenizer's own chat template."""
        return chat_tokens(tokenizer, messages, tools)

    def call(self, tokenizer: PreTrainedTokenizerBase | None, name: str, arguments: Mapping[str, Any]) -> str:
        """A call in its tag."""
        return f"<{self.tool_call}>\n{write_call(name, arguments)}\n</{self.tool_call}>"

    def action(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens of a demonstrated turn; its markers become control tokens."""
        return encode(tokenizer, [(text + self.end_of_turn, True)], self._markers)

    def probe(self, tokenizer: PreTrainedTokenizerBase, template: str, answer: str) -> tuple[list[int], list[bool]]:
        """Tokens of a turn that gives the answer, up to the answer's last, and which of them are the answer."""
        return encode_probe(tokenizer, template, answer, self.end_of_turn, self._markers)

    def observation(self, tokenizer: PreTrainedTokenizerBase, results: Sequence[str]) -> list[int]:
        """Tokens from the end of the policy's turn to where it speaks again, one block per result."""
        parts = [(f"\n{self.start_of_turn}user", True)]
        for result in results:
            parts += [(f"\n<{self.tool_response}>\n", True), (result, False), (f"\n</{self.tool_response}>", True)]
        parts.append((f"{self.end_of_turn}\n{opening(tokenizer)}", True))
        return encode(tokenizer, parts, self._markers)

    def message(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens from the end of the policy's turn to where it speaks again, with what the user says in between."""
        before, behind = f"\n{self.start_of_turn}user\n", f"{self.end_of_turn}\n{opening(tokenizer)}"
        return encode(tokenizer, [(before, True), (text, False), (behind, True)], self._markers)

    def parse(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Action:
        """Text, calls and answer of a turn, up to its first end-of-turn token.

        Calls in thoughts, behind the first answer or behind the end are ignored, and say so. A thought is free to name
        a tag: only a whole call counts as one there.
        """
        length = up_to(token_ids, self.stop_token_ids(tokenizer))
        text = readable(tokenizer, token_ids[:length])
        turn = split_turn(text, self.whole_calls)
        late = turn.behind + readable(tokenizer, token_ids[length + 1 :])
        thought = [self.read(body) for each in turn.thoughts for body in self.whole_calls.findall(each)]
        here = f"write {self._expected} behind </think>"
        ignored = (
            *not_run(thought, CallError.IN_THOUGHT, f"a call inside of <think> is not run; {here}"),
            *not_run(
                self._calls(late),
                CallError.AFTER_END,
                "a call behind the answer or the end of a turn is not run; call before",
            ),
        )
        return Action(text, tuple(self._calls(turn.spoken)), ignored, turn.answer)

    def inside_calls(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Tokens behind an opening tag, up to and with the closing one."""
        opening, closing = (token_id(tokenizer, f"<{slash}{self.tool_call}>") for slash in ("", "/"))
        result, inside = [], False
        for token in token_ids:
            result.append(inside)
            inside = token == opening or (inside and token != closing)
        return result

    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """The end-of-turn token, and the tokenizer's end of text where that is another one."""
        ends = [token_id(tokenizer, self.end_of_turn), tokenizer.eos_token_id]
        return tuple(dict.fromkeys(token for token in ends if token is not None))

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check the markers, that appended turns are what the chat template renders, and that calls read as written."""
        lacking = [marker for marker in self._markers[:4] if token_id(tokenizer, marker) is None]
        lacking += ["an end-of-text token (eos_token)"] if tokenizer.eos_token_id is None else []
        if lacking:
            raise ValueError(
                f"HermesFormat needs single tokens which this tokenizer lacks: {', '.join(lacking)}. Choose a model of "
                f"the Qwen family, add the tokens, or choose another format."
            )
        if not tokenizer.chat_template:
            raise ValueError("HermesFormat renders prompts with a chat template, and this tokenizer has none.")
        check_appending(self, tokenizer, answers=("user", "tool"))
        check_calls(self, tokenizer)

    @property
    def _markers(self) -> tuple[str, ...]:
        tags = [f"<{slash}{tag}>" for tag in (self.tool_call, self.tool_response, "think") for slash in ("", "/")]
        return (self.start_of_turn, self.end_of_turn, *tags)

    @property
    def _expected(self) -> str:
        return f"<{self.tool_call}>{NAMED}</{self.tool_call}>"

    @property
    def whole_calls(self) -> re.Pattern[str]:
        """Matches a call with both its tags, and captures what is in between."""
        tag = re.escape(self.tool_call)
        return re.compile(f"<{tag}>((?:(?!<{tag}>).)*?)</{tag}>", re.DOTALL)

    def read(self, body: str) -> ParsedCall:
        """The call that stands between two tags."""
        return read_call(body, self._expected)

    def _half(self, reason: str) -> ParsedCall:
        return malformed(CallError.HALF_TAG, reason, self._expected)

    def _calls(self, text: str) -> Iterable[ParsedCall]:
        """Every call between tags; a tag without its partner is a malformed call."""
        opening, closing = f"<{self.tool_call}>", f"</{self.tool_call}>"
        body: str | None = None  # what the open tag holds so far; None outside of tags
        for piece in re.split(f"({re.escape(opening)}|{re.escape(closing)})", text):
            if piece == opening:
                if body is not None:
                    yield self._half(f"{opening} without {closing}")
                body = ""
            elif piece == closing:
                yield self._half(f"{closing} without {opening}") if body is None else self.read(body)
                body = None
            elif body is not None:
                body = piece
            elif opening[:-1] in piece or closing[:-1] in piece:
                yield self._half("a tag is not finished")
        if body is not None:
            yield self._half(f"{opening} without {closing}")
