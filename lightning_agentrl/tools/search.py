"""Full-text search over passages with BM25."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bm25s
import numpy as np

from lightning_agentrl.tools.base import Tool, ToolResult
from lightning_agentrl.types import CallError


class SearchTool(Tool):
    """Finds the passages that share the rarest words with a query.

    The index is built once and then only read, so one instance serves any number of trajectories and threads. A query
    over a few thousand passages takes well under a millisecond and therefore runs in the caller's thread.
    """

    name = "search"
    description = "Search a collection of passages. Returns the passages that match the query best."

    def __init__(self, passages: Sequence[str], top_k: int = 3) -> None:
        """Index the passages.

        Args:
            passages: texts to search; at least one.
            top_k: greatest number of passages per result.
        """
        if not passages:
            raise ValueError("SearchTool needs at least one passage, got none.")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        self.passages = tuple(passages)
        self.top_k = top_k
        self._index = bm25s.BM25()
        self._index.index(_words(self.passages), show_progress=False)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        query = {"type": "string", "description": "What to search for."}
        return {"type": "object", "properties": {"query": query}, "required": ["query"]}

    def rank(self, query: str) -> list[int]:
        """Numbers of the best passages, best first; equal scores keep the order of the passages."""
        words = _words([query])[0]
        if not words:
            return []
        scores = self._index.get_scores(words)  # [passages]
        k = min(self.top_k, len(scores))
        threshold = np.partition(scores, -k)[-k]
        found = np.flatnonzero((scores >= threshold) & (scores > 0))
        return [int(number) for number in found[np.argsort(-scores[found], kind="stable")][:k]]

    def lookup(self, query: str) -> ToolResult:
        """Search at once; what a call comes to."""
        if not query.strip():
            return ToolResult("Error: the query is empty.", ok=False, error_kind=CallError.WRONG_TYPE)
        found = self.rank(query)
        if not found:
            return ToolResult("No results.")
        return ToolResult("\n".join(self.passages[number] for number in found))

    async def __call__(self, **arguments: Any) -> ToolResult:
        """Search for ``query``."""
        return self.lookup(arguments["query"])


def _words(texts: Sequence[str]) -> list[list[str]]:
    """Lower-case words of two letters or more, without the commonest English ones."""
    words = bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)
    assert isinstance(words, list)
    return words
