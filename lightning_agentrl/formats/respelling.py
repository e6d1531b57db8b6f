"""Demonstrations spell calls as Hermes does; this spells them as another format does."""

from __future__ import annotations

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.hermes import HermesFormat

HERMES = HermesFormat()


def respelled(text: str, chat_format: ChatFormat) -> str:
    """What the policy says in a demonstration, with its calls as the format writes them; Hermes' own stay untouched.

    Args:
        text: a turn with calls in Hermes' tags.
        chat_format: what a policy is to speak whose tokenizer is yet to be trained, on such texts.

    Raises:
        ValueError: a call cannot be read, or the format cannot write it.
    """
    if isinstance(chat_format, HermesFormat) and chat_format.tool_call == HERMES.tool_call:
        return text
    parts = HERMES.whole_calls.split(text)  # what is said and what stands in a tag take turns
    for place in range(1, len(parts), 2):
        call = HERMES.read(parts[place])
        if call.error:
            raise ValueError(f"A demonstration holds a call that cannot be read, {parts[place]!r}: {call.error}.")
        parts[place] = chat_format.call(None, call.name, call.arguments)
    return "".join(parts)
