"""Names that come with the data, as numbers that mean the same on every rank, and a dictionary that travels along.

Ranks may meet different tools and failures. States are synchronized by position and type, so a name cannot be the name
of a state; and a number per name would have to be agreed on first. A hash needs no agreement, and the spelling of each
name is one more column, of bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from torch import Tensor

NOTHING = 0
"""The key of no name at all."""


def key(name: str) -> int:
    """A number in [−2^63, 2^63) for a name, equal in every process."""
    return int.from_bytes(hashlib.blake2b(_spelled(name), digest_size=8).digest(), "big", signed=True)


def spelling(names: Iterable[str]) -> list[int]:
    """Bytes from which `dictionary` finds the names again; they may be joined in any order."""
    return list(b"".join(_spelled(name) + b"\n" for name in sorted(set(names))))


def dictionary(spellings: Tensor) -> dict[int, str]:
    """Key and name of all that was spelled, in alphabetical order."""
    names = sorted({line.decode() for line in bytes(spellings.tolist()).split(b"\n")[:-1]})
    return {key(name): name for name in names}


def _spelled(name: str) -> bytes:
    """In one line, half surrogate pairs as question marks: some names are what a policy wrote."""
    return name.replace("\n", " ").encode("utf-8", errors="replace")
