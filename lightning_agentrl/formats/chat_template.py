"""What a tokenizer's chat template writes around things said: found out once, by rendering chats with placeholders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Literal

from lightning_agentrl.formats.encoding import token_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
USER: Message = {"role": "user", "content": "Where?"}
"""What every chat that is rendered to learn from begins with."""
EDGE = "\ue000"
"""Marks a placeholder: a character for private use, which no template has a reason to write."""
CALL_ID = "call00001"
"""Some templates want nine letters or digits."""


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Any] = (), speaks: bool = True
) -> str:
    """A chat as text.

    Args:
        tokenizer: the policy's.
        messages: the chat.
        tools: schemas.
        speaks: whether the policy speaks next, so that its turn is opened.

    Raises:
        ValueError: when the template cannot render it, with what the template says.
    """
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=list(tools) or None,
                add_generation_prompt=speaks,
                tokenize=False,
            )
        )
    except Exception as error:  # a template is a program of its own and may raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(f"The tokenizer's chat template cannot render a chat of {roles}: {error}.") from error


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Any] = ()
) -> list[int]:
    """A chat in tokens, up to where the policy speaks."""
    return list(tokenizer(render(tokenizer, messages, tools), add_special_tokens=False)["input_ids"])


def calling(name: str, arguments: Mapping[str, Any], content: str = "") -> Message:
    """A message in which the policy calls a tool, in the form that chat templates take."""
    function = {"name": name, "arguments": dict(arguments)}
    call = {"id": CALL_ID, "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def returning(text: str, name: str = "search") -> Message:
    """A message with what a tool returned."""
    return {"role": "tool", "name": name, "tool_call_id": CALL_ID, "content": text}


def opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """What opens a turn of the policy."""
    return _opening(tokenizer, str(tokenizer.chat_template))


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends what the policy says.

    Raises:
        ValueError: when no control token follows it.
    """
    return _end_of_turn(tokenizer, str(tokenizer.chat_template))


def ends_of_turn(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token that ends what the policy says, and the tokenizer's end of text where that is another one.

    Raises:
        ValueError: see `end_of_turn`.
    """
    ends = [token_id(tokenizer, end_of_turn(tokenizer)), tokenizer.eos_token_id]
    return tuple(dict.fromkeys(token for token in ends if token is not None))


def call_text(tokenizer: PreTrainedTokenizerBase, name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the template writes it.

    Raises:
        ValueError: when it does not.
    """
    rendered = render(tokenizer, [USER, calling(name, arguments), returning("", name)])  # templates treat the last
    start = render(tokenizer, [USER], speaks=False) + opening(tokenizer).partition("<think>")[0]  # turn differently
    text = rendered[len(start) :].partition(end_of_turn(tokenizer))[0]
    if not rendered.startswith(start) or name not in text:
        raise ValueError(
            f"The tokenizer's chat template does not write calls: of one of {name!r} it makes {rendered!r}. Choose "
            f"HermesFormat or TagFormat, or give the tokenizer a template that knows message.tool_calls."
        )
    return text


@dataclass(frozen=True)
class Between:
    """What stands between the end of the policy's turn and where it speaks again."""

    around: tuple[str, ...]
    """Before, between and behind the texts that others say."""
    write: Callable[[str], str]
    """A text of theirs as the template writes it."""

    def parts(self, texts: Sequence[str]) -> list[tuple[str, bool]]:
        """All of it in order, and whether it is the template's own."""
        frame = [(text, True) for text in self.around]
        said = [(self.write(text), False) for text in texts]
        return [part for part in chain.from_iterable(zip_longest(frame, said)) if part is not None]


def between(tokenizer: PreTrainedTokenizerBase, role: Literal["tool", "user"], count: int = 1) -> Between:
    """What the template writes when ``count`` tools, or the user, answer the policy.

    Raises:
        ValueError: when it changes the texts beyond what we understand.
    """
    return _between(tokenizer, str(tokenizer.chat_template), role, count)


# The template is part of the keys: a tokenizer may be given another one.
@lru_cache(maxsize=16)
def _opening(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    return render(tokenizer, [USER]).removeprefix(render(tokenizer, [USER], speaks=False))


@lru_cache(maxsize=16)
def _end_of_turn(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    said = {"role": "assistant", "content": EDGE}
    tail = render(tokenizer, [USER, said], speaks=False).rpartition(EDGE)[2]
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    found = [(tail.index(token), -len(token), token) for token in special if token in tail]
    if not found:
        raise ValueError(
            f"The tokenizer's chat template ends a turn of the policy with {tail!r}; expected a control token, which "
            f"a rollout could stop at. Choose another tokenizer, or make that token a special one."
        )
    return min(found)[2]


@lru_cache(maxsize=64)
def _between(tokenizer: PreTrainedTokenizerBase, template: str, role: Literal["tool", "user"], count: int) -> Between:
    said = calling("search", {"query": EDGE}) if role == "tool" else {"role": "assistant", "content": EDGE}
    text = '<>"\n\\é<>'  # quotes and the like show whether the template writes JSON

    def answered(text: str) -> str:
        """What it writes behind the policy's turn."""
        answer = returning(text) if role == "tool" else {"role": "user", "content": text}
        whole = render(tokenizer, [USER, said, *[answer] * count])
        return whole.partition(EDGE)[2].partition(end_of_turn(tokenizer))[2]

    tight, loose = answered(text), answered(f" {text} ")
    for write in (_plain, str.strip, _quoted, _trimmed_and_quoted):
        around = tuple(tight.split(write(text)))
        if len(around) == count + 1 and loose == write(f" {text} ").join(around):
            return Between(around, write)
    raise ValueError(
        f"The tokenizer's chat template changes what a {role} says in a way that is not understood: of {text!r} it "
        f"makes {tight!r}. Give the tokenizer a template that writes it as it is, trimmed, or as JSON."
    )


def _plain(text: str) -> str:
    return text


def _quoted(text: str) -> str:
    """Inside of a JSON string, as the filter ``tojson`` writes it."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _trimmed_and_quoted(text: str) -> str:
    return _quoted(text.strip())
