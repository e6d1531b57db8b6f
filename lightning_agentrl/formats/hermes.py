"""The Hermes dialect that Qwen speaks: JSON calls in <tool_call> tags, results in <tool_response> tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.types import Action, CallError, ParsedCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACE = "{answer}"
"""Where the answer goes in a template."""
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
THINKING = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*?</think>", re.DOTALL)
"""Thoughts, also those that the prompt opened or that were cut off."""


@dataclass(frozen=True)
class HermesFormat(ChatFormat):
    """Hermes / Qwen chat tokens."""

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
        return self._render(tokenizer, messages, tools)

    def action(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens of a demonstrated turn; its markers become control tokens."""
        return self._encode(tokenizer, [(text + self.end_of_turn, True)])

    def probe(self, tokenizer: PreTrainedTokenizerBase, template: str, answer: str) -> tuple[list[int], list[bool]]:
        """Tokens of a turn that gives the answer, up to the answer's last, and which of them are the answer."""
        before, after = template.split(PLACE)
        parts = [(before, True), (answer, False), (after + self.end_of_turn, True)]
        ids, part_of = self._encode_parts(tokenizer, parts)
        scored = [1 in touched for touched in part_of]
        end = max((place + 1 for place, is_answer in enumerate(scored) if is_answer), default=0)
        return ids[:end], scored[:end]

    def observation(self, tokenizer: PreTrainedTokenizerBase, results: Sequence[str]) -> list[int]:
        """Tokens from the end of the policy's turn to where it speaks again, one block per result."""
        parts = [(f"\n{self.start_of_turn}user", True)]
        for result in results:
            parts += [(f"\n<{self.tool_response}>\n", True), (result, False), (f"\n</{self.tool_response}>", True)]
        return self._encode(tokenizer, [*parts, (f"{self.end_of_turn}\n{self.start_of_turn}assistant\n", True)])

    def message(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens from the end of the policy's turn to where it speaks again, with what the user says in between."""
        opening, closing = f"\n{self.start_of_turn}user\n", f"{self.end_of_turn}\n{self.start_of_turn}assistant\n"
        return self._encode(tokenizer, [(opening, True), (text, False), (closing, True)])

    def parse(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Action:
        """Text and calls of a turn, up to its first end-of-turn token; calls in thoughts do not count."""
        ends = self.stop_token_ids(tokenizer)
        length = next((place for place, token in enumerate(token_ids) if token in ends), len(token_ids))
        text = str(tokenizer.decode(list(token_ids[:length]), skip_special_tokens=False))
        spoken = THINKING.sub("", text)
        answers = ANSWER.findall(spoken)
        return Action(text, tuple(self._calls(spoken)), answer=answers[-1].strip() if answers else None)

    def inside_calls(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Tokens behind an opening tag, up to and with the closing one."""
        opening, closing = (_token_id(tokenizer, f"<{slash}{self.tool_call}>") for slash in ("", "/"))
        result, inside = [], False
        for token in token_ids:
            result.append(inside)
            inside = token == opening or (inside and token != closing)
        return result

    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """The end-of-turn token, and the tokenizer's end of text where that is another one."""
        ends = [_token_id(tokenizer, self.end_of_turn), tokenizer.eos_token_id]
        return tuple(dict.fromkeys(token for token in ends if token is not None))

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check the markers, and that appending turns gives the tokens which rendering the whole chat would give."""
        missing = [marker for marker in self._markers[:4] if _token_id(tokenizer, marker) is None]
        if missing or tokenizer.eos_token_id is None:
            lacking = [*missing, *(["an end-of-text token (eos_token)"] if tokenizer.eos_token_id is None else [])]
            raise ValueError(
                f"HermesFormat needs single tokens which this tokenizer lacks: {', '.join(lacking)}. Choose a model of "
                f"the Qwen family, add the tokens, or choose another format."
            )
        if not tokenizer.chat_template:
            raise ValueError("HermesFormat renders prompts with a chat template, and this tokenizer has none.")
        call = f'<{self.tool_call}>\n{{"name": "search", "arguments": {{"query": "x"}}}}\n</{self.tool_call}>'
        chat = [
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "content": call},
            {"role": "tool", "content": '"Title"\nIt is here.'},
        ]
        try:
            prompt, rendered = self._render(tokenizer, chat[:1], []), self._render(tokenizer, chat, [])
        except Exception as error:  # a template is a program of its own and may raise anything
            raise ValueError(f"The tokenizer's chat template cannot render a chat with tools: {error}.") from error
        action, observation = chat[1]["content"], chat[2]["content"]
        appended = [*prompt, *self.action(tokenizer, action), *self.observation(tokenizer, [observation])]
        if rendered[: len(appended)] != appended:
            raise ValueError(
                f"HermesFormat appends turns as {tokenizer.decode(appended)!r}, but the tokenizer's chat template "
                f"renders the same chat as {tokenizer.decode(rendered)!r}. Choose the format that the model was "
                f"trained with, or give the tokenizer a template of the Qwen form."
            )

    @property
    def _markers(self) -> tuple[str, ...]:
        tags = [f"<{slash}{tag}>" for tag in (self.tool_call, self.tool_response, "think") for slash in ("", "/")]
        return (self.start_of_turn, self.end_of_turn, *tags)

    def _render(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> list[int]:
        return list(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=list(tools) or None,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
            )
        )

    def _encode(self, tokenizer: PreTrainedTokenizerBase, parts: Sequence[tuple[str, bool]]) -> list[int]:
        """Encode texts as one, with control tokens in the trusted ones only."""
        return self._encode_parts(tokenizer, parts)[0]

    def _encode_parts(
        self, tokenizer: PreTrainedTokenizerBase, parts: Sequence[tuple[str, bool]]
    ) -> tuple[list[int], list[range]]:
        """Tokens, and for each the numbers of the texts that it covers.

        Neighbouring texts are encoded together, so that merges across their border come out as they would in a
        rendered chat. Where an untrusted text spells a control token, it is cut after that token's first character.
        """
        controls = _controls(tokenizer, self._markers)
        forged = frozenset(controls.ids.values())  # only a token of one character could still come out; it is dropped
        token_ids: list[int] = []
        covers: list[range] = []
        run: list[tuple[str, int]] = []  # texts to be encoded together, and the part that each comes from

        def flush() -> None:
            owners = [number for text, number in run for _ in text]  # of each character
            encoded = tokenizer("".join(text for text, _ in run), add_special_tokens=False, return_offsets_mapping=True)
            for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
                if token not in forged:
                    token_ids.append(token)
                    covers.append(range(owners[start], owners[end - 1] + 1) if end > start else range(0))
            run.clear()

        for number, (text, trusted) in enumerate(parts):
            if trusted:
                for piece in controls.pattern.split(text):
                    if piece in controls.ids:
                        flush()
                        token_ids.append(controls.ids[piece])
                        covers.append(range(number, number + 1))
                    else:
                        run.append((piece, number))
            else:
                cuts = [match.start() + 1 for match in controls.overlapping.finditer(text)]
                for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    if start:
                        flush()
                    run.append((text[start:end], number))
        flush()
        return token_ids, covers

    def _calls(self, text: str) -> Iterable[ParsedCall]:
        """Every call between tags; a tag without its partner is a malformed call."""
        opening, closing = f"<{self.tool_call}>", f"</{self.tool_call}>"
        body: str | None = None  # what the open tag holds so far; None outside of tags
        for piece in re.split(f"({opening}|{closing})", text):
            if piece == opening:
                if body is not None:
                    yield _malformed(CallError.HALF_TAG, f"{opening} without {closing}")
                body = ""
            elif piece == closing:
                yield _malformed(CallError.HALF_TAG, f"{closing} without {opening}") if body is None else _parse(body)
                body = None
            elif body is not None:
                body = piece
            elif opening[:-1] in piece or closing[:-1] in piece:
                yield _malformed(CallError.HALF_TAG, "a tag is not finished")
        if body is not None:
            yield _malformed(CallError.HALF_TAG, f"{opening} without {closing}")


def _malformed(kind: CallError, reason: str, name: str = "") -> ParsedCall:
    expected = 'expected <tool_call>{"name": ..., "arguments": {...}}</tool_call>'
    return ParsedCall(name, {}, f"{reason}; {expected}", kind)


def _parse(body: str) -> ParsedCall:
    """One call from the JSON between its tags."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        return _malformed(CallError.BAD_JSON, f"not valid JSON ({error})")
    if not isinstance(call, dict):
        return _malformed(CallError.NOT_A_CALL, f"the call is a {type(call).__name__}, not an object")
    name, arguments = call.get("name"), call.get("arguments")
    if not isinstance(name, str) or not name:
        return _malformed(CallError.NOT_A_CALL, 'the call has no "name" that is a string')
    if not isinstance(arguments, dict):
        return _malformed(CallError.NOT_A_CALL, 'the call has no "arguments" that are an object', name)
    return ParsedCall(name, arguments)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    found = tokenizer.convert_tokens_to_ids(token)
    return found if isinstance(found, int) and tokenizer.convert_ids_to_tokens(found) == token else None


class _Controls(NamedTuple):
    """Tokens that steer: special ones, and our markers, which some tokenizers do not count as special."""

    ids: dict[str, int]
    pattern: re.Pattern[str]
    """Captures one of them."""
    overlapping: re.Pattern[str]
    """Matches before each of them, even where they overlap."""


@lru_cache(maxsize=8)
def _controls(tokenizer: PreTrainedTokenizerBase, markers: tuple[str, ...]) -> _Controls:
    """What must not come out of an untrusted text; kept, since a tokenizer lists its added tokens slowly."""
    ids = {str(added): id for id, added in tokenizer.added_tokens_decoder.items() if added.special}
    ids |= {marker: id for marker in markers if (id := _token_id(tokenizer, marker)) is not None}
    either = "|".join(re.escape(control) for control in sorted(ids, key=len, reverse=True))
    return _Controls(ids, re.compile(f"({either})"), re.compile(f"(?={either})"))
