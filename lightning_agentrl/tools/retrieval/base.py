"""The contract of a retriever, and what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """A passage that a search found."""

    id: str
    """What a page is opened by; a URL where the collection has no other."""
    contents: str
    """The quoted title on a line of its own, if there is one, then the text."""
    score: float = 0.0
    """Greater is better; comparable within one retriever only."""

    @property
    def title(self) -> str:
        """The title without its quotes, or nothing."""
        return split_title(self.contents)[0]

    @property
    def text(self) -> str:
        """What follows the title."""
        return split_title(self.contents)[1]


class Retriever(ABC):
    """Ranks the passages of a collection. Shared by all trajectories, so it keeps no state of theirs."""

    timeout: float | None = None
    """Seconds after which a search counts as failed machinery; None where it takes no time to speak of."""

    @abstractmethod
    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The at most ``k`` best passages of each query, best first.

        Raises:
            InfrastructureError: when what it runs on failed.
        """

    def check(self) -> None:  # noqa: B027 - optional
        """See that it works, before a run.

        Raises:
            ValueError: saying what does not answer, and what to do.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Release processes and connections; a later search may open them again."""


def split_title(contents: str) -> tuple[str, str]:
    """Title and text of a passage in the form of Search-R1 and FlashRAG, whose first line is the quoted title."""
    first, _, rest = contents.partition("\n")
    if rest and len(first) > 1 and first[0] == first[-1] == '"':
        return first[1:-1], rest
    return "", contents
