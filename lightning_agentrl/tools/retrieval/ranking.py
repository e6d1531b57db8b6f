"""BM25 over passages at hand."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np

from lightning_agentrl.data.readers import Passage
from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.threads import in_thread

QUICK = 20_000
"""So many passages are ranked in a fraction of a millisecond, less than handing the query to a thread takes."""
CHUNK = 10_000
"""Passages that are cut into words at once."""


class Ranking(Retriever):
    """Finds the passages that share the rarest words with a query.

    The index is built once and then only read, so one instance serves any number of trajectories and threads.
    """

    def __init__(self, passages: Sequence[Passage], index: bm25s.BM25 | None = None) -> None:
        """Index the passages.

        Args:
            passages: what to search, at least one; they may lie in a file, since only what is found is looked at.
            index: theirs, if there is one already.
        """
        if not passages:
            raise ValueError("BM25 needs at least one passage, got none.")
        self.passages = passages
        self._index = index or build(passage.contents for passage in passages)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Ranking:
        """Of texts, which are known by their numbers."""
        return cls([Passage(str(number), text) for number, text in enumerate(texts)])

    def rank(self, query: str, k: int) -> list[int]:
        """Numbers of the best passages, best first; equal scores keep the order of the passages."""
        return [number for number, _ in self._ranked(query, k)]

    def hits(self, query: str, k: int) -> list[Hit]:
        """The best passages, best first."""
        found = [(self.passages[number], score) for number, score in self._ranked(query, k)]
        return [Hit(passage.id, passage.contents, score) for passage, score in found]

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best passages of each query; a large collection is searched in a thread."""
        if len(self.passages) <= QUICK:
            return [self.hits(query, k) for query in queries]
        found: list[list[Hit]] = await in_thread(lambda: [self.hits(query, k) for query in queries])
        return found

    def _ranked(self, query: str, k: int) -> list[tuple[int, float]]:
        (words,) = tokens([query])
        if not words:
            return []
        scores = self._index.get_scores(words)  # [passages]
        k = min(k, len(scores))
        threshold = np.partition(scores, -k)[-k]
        found = np.flatnonzero((scores >= threshold) & (scores > 0))
        best = found[np.argsort(-scores[found], kind="stable")][:k]
        return [(int(number), float(scores[number])) for number in best]


def build(texts: Iterable[str]) -> bm25s.BM25:
    """An index of texts, which may be a stream: only the numbers of their words are kept."""
    vocabulary: dict[str, int] = {}
    numbers: list[array[int]] = []
    chunk: list[str] = []

    def cut() -> None:
        for words in tokens(chunk):
            numbers.append(array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in words]))
        chunk.clear()

    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            cut()
    cut()
    if not vocabulary:
        raise ValueError("No passage holds a word that BM25 could search for (two letters, not one of the commonest).")
    index = bm25s.BM25()
    index.index((numbers, vocabulary), show_progress=False)
    return index


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Lower-case words of two letters or more of each text, without the commonest English ones."""
    words = bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)
    assert isinstance(words, list)
    return words
