"""Text to tokens where some of the text is trusted and some is not: tools must not be able to write control tokens."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Part = tuple[str, bool]
"""A text, and whether it may hold control tokens."""
PLACE = "{answer}"
"""Where the answer goes in a template."""


def encode(tokenizer: PreTrainedTokenizerBase, parts: Sequence[Part], markers: tuple[str, ...] = ()) -> list[int]:
    """Encode texts as one, with control tokens in the trusted ones only; see `encode_parts`."""
    return encode_parts(tokenizer, parts, markers)[0]


def encode_parts(
    tokenizer: PreTrainedTokenizerBase, parts: Sequence[Part], markers: tuple[str, ...] = ()
) -> tuple[list[int], list[range]]:
    """Tokens, and for each the numbers of the texts that it covers.

    Neighbouring texts are encoded together, so that merges across their border come out as they would in a rendered
    chat. Where an untrusted text spells a control token, it is cut after that token's first character.

    Args:
        tokenizer: the policy's.
        parts: texts in order.
        markers: control tokens besides the special ones; those that are no single tokens are plain text.
    """
    controls = _controls(tokenizer, markers)
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


def encode_probe(
    tokenizer: PreTrainedTokenizerBase, template: str, answer: str, end: str, markers: tuple[str, ...] = ()
) -> tuple[list[int], list[bool]]:
    """Tokens of a turn that gives an answer, up to the answer's last, and which of them are the answer.

    Args:
        tokenizer: the policy's.
        template: what the policy writes, `PLACE` where the answer goes.
        answer: plain text.
        end: what ends a turn.
        markers: see `encode_parts`.
    """
    before, after = template.split(PLACE)
    ids, part_of = encode_parts(tokenizer, [(before, True), (answer, False), (after + end, True)], markers)
    scored = [1 in touched for touched in part_of]
    stop = max((place + 1 for place, is_answer in enumerate(scored) if is_answer), default=0)
    return ids[:stop], scored[:stop]


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """The number of a token; None if the text is not one token."""
    found = tokenizer.convert_tokens_to_ids(token)
    return found if isinstance(found, int) and tokenizer.convert_ids_to_tokens(found) == token else None


def readable(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Tokens as text, control tokens visible."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=False))


def up_to(token_ids: Sequence[int], ends: Sequence[int]) -> int:
    """How many tokens come before the first that is one of ``ends``."""
    return next((place for place, token in enumerate(token_ids) if token in ends), len(token_ids))


def tokens_within(
    tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], spans: Sequence[tuple[int, int]]
) -> list[bool]:
    """Which tokens start within one of some spans of their text."""

    def before(place: int) -> int:
        """How many tokens it takes to write as many characters."""
        counts = range(len(token_ids))
        return bisect_left(counts, place, key=lambda count: len(readable(tokenizer, token_ids[:count])))

    result = [False] * len(token_ids)
    for start, stop in spans:
        first, last = before(start), before(stop)
        result[first:last] = [True] * (last - first)
    return result


class _Controls(NamedTuple):
    """Tokens that steer: special ones, and a format's markers, which some tokenizers do not count as special."""

    ids: dict[str, int]
    pattern: re.Pattern[str]
    """Captures one of them."""
    overlapping: re.Pattern[str]
    """Matches before each of them, even where they overlap."""


@lru_cache(maxsize=8)
def _controls(tokenizer: PreTrainedTokenizerBase, markers: tuple[str, ...]) -> _Controls:
    """What must not come out of an untrusted text; kept, since a tokenizer lists its added tokens slowly."""
    ids = {str(added): id for id, added in tokenizer.added_tokens_decoder.items() if added.special}
    ids |= {marker: id for marker in markers if (id := token_id(tokenizer, marker)) is not None}
    either = "|".join(re.escape(control) for control in sorted(ids, key=len, reverse=True)) or "(?!)"  # or nothing
    return _Controls(ids, re.compile(f"({either})"), re.compile(f"(?={either})"))
