"""What a format checks before a run: appended turns are what the chat template renders, and calls read as written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.chat_template import (
    USER,
    Message,
    call_text,
    calling,
    chat_tokens,
    opening,
    render,
    returning,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

NAME = "search"
ARGUMENTS: Mapping[str, Any] = {"query": "the mentor of É", "limit": 3}
THOUGHT = "I had better look."
RESULTS = ('"Title"\nIt is here.', "and there")
SHOWN = 12
"""How many tokens around a difference are shown."""


Answers = Literal["user", "tool", "structured tool"]
"""Who answers the policy; a call is what the policy wrote, or taken apart for the template to write."""


class _Case(NamedTuple):
    """A chat, and the same as a rollout would append it."""

    messages: Sequence[Message]
    said: str
    answered: list[int]


def check_appending(chat_format: ChatFormat, tokenizer: PreTrainedTokenizerBase, *, answers: Sequence[Answers]) -> None:
    """Check that prompt, turn and answer, each in tokens, are together what the chat template renders.

    A template that drops old thoughts is only warned about: what was sampled stays in the context.

    Args:
        chat_format: under test.
        tokenizer: the policy's.
        answers: the chats to check.

    Raises:
        ValueError: naming the first place where they differ.
    """
    opened = opening(tokenizer).rstrip().endswith("<think>")  # then no turn comes without a thought
    for thought in (THOUGHT,) if opened else ("", THOUGHT):
        for case in (case for answer in answers for case in _cases(chat_format, tokenizer, answer, thought)):
            said = case.said.removeprefix("<think>\n") if opened else case.said
            appended = [*chat_tokens(tokenizer, [USER]), *chat_format.action(tokenizer, said), *case.answered]
            difference = first_difference(tokenizer, appended, chat_tokens(tokenizer, case.messages))
            if difference is None:
                continue
            roles = ", ".join(message["role"] for message in case.messages)
            if thought and thought not in render(tokenizer, case.messages):
                log.warning(
                    "The chat template drops earlier thoughts from a chat of %s; rollouts keep them, since tokens that "
                    "were sampled are never taken back.",
                    roles,
                )
                continue
            raise ValueError(
                f"{type(chat_format).__name__} does not append turns as the tokenizer's chat template renders them, in "
                f"a chat of {roles}: {difference} Choose the format that the model was trained with, or give the "
                f"tokenizer a template of this form."
            )


def check_calls(chat_format: ChatFormat, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a call is read as it was written, by the format and, if it writes calls, by the chat template.

    Raises:
        ValueError: with what was read instead.
    """
    texts = [chat_format.call(tokenizer, NAME, ARGUMENTS)]
    if tokenizer.chat_template and NAME in render(tokenizer, [USER, calling(NAME, ARGUMENTS), returning("")]):
        texts.append(call_text(tokenizer, NAME, ARGUMENTS))
    for text in texts:
        calls = chat_format.parse(tokenizer, chat_format.action(tokenizer, text)).calls
        read = [(call.name, call.arguments) for call in calls]
        if read != [(NAME, ARGUMENTS)]:
            reason = next((f" ({call.error})" for call in calls if call.error), "")
            raise ValueError(
                f"{type(chat_format).__name__} does not read this tokenizer's calls: {text!r} came back as "
                f"{read or 'no call'}{reason}, expected {(NAME, ARGUMENTS)}. Choose the format of the model's dialect."
            )


def first_difference(
    tokenizer: PreTrainedTokenizerBase, appended: Sequence[int], rendered: Sequence[int]
) -> str | None:
    """A sentence that shows where two token sequences part; None if they are equal."""
    pairs = zip_longest(appended, rendered)
    place = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    if place is None:
        return None

    def shown(token_ids: Sequence[int]) -> str:
        return repr(tokenizer.decode(list(token_ids))) if token_ids else "nothing more"

    return (
        f"at token {place}, behind {shown(appended[max(place - SHOWN, 0) : place])}, the template has "
        f"{shown(rendered[place : place + SHOWN])} and the format {shown(appended[place : place + SHOWN])}."
    )


def _cases(
    chat_format: ChatFormat, tokenizer: PreTrainedTokenizerBase, answers: Answers, thought: str
) -> Iterator[_Case]:
    """Chats in which the policy speaks once and is answered; at ``tool`` by one result, and by two."""
    before = f"<think>\n{thought}\n</think>\n\n" if thought else ""
    if answers == "user":
        said = f"{before}Here."
        messages = [USER, {"role": "assistant", "content": said}, USER]
        yield _Case(messages, said, chat_format.message(tokenizer, USER["content"]))
        return
    call = chat_format.call(tokenizer, NAME, ARGUMENTS)
    written = {"role": "assistant", "content": before + call}
    for results in (RESULTS[:1], RESULTS):
        message = written if answers == "tool" else calling(NAME, ARGUMENTS, before)
        messages = [USER, message, *map(returning, results)]
        yield _Case(messages, before + call, chat_format.observation(tokenizer, results))
