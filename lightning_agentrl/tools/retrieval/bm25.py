"""BM25 over a corpus file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from lightning_agentrl.data.readers import read_passages
from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.retrieval.ranking import Ranking
from lightning_agentrl.tools.retrieval.stored import stored
from lightning_agentrl.tools.threads import in_thread

SMALL = 32 * 2**20
"""Corpora of so many bytes are indexed anew by each process, in seconds; of larger ones the index is kept."""
LOADING = Lock()


@dataclass(frozen=True)
class BM25(Retriever):
    """Finds the passages that share the rarest words with a query, in this process."""

    corpus: Path
    """Passages: .jsonl, .jsonl.gz, .json or .parquet with id and contents, or with id (or url), title and text."""
    index: Path | None = None
    """Folder to keep the index in, with a copy of the passages; built when it does not belong to the corpus as it is
    now. None keeps it beside the corpus, as NAME.bm25, if that is larger than 32 MiB, and else in memory."""
    max_bad_rows: int = 10
    """Rows of the corpus that may be unusable; they are skipped with a warning."""

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best passages of each query."""
        if "ranking" not in self.__dict__:
            await in_thread(self.load)
        return await self.ranking.search(queries, k)

    def check(self) -> None:
        """Read and index the corpus."""
        if not self.corpus.is_file():
            raise ValueError(f"There is no corpus at {self.corpus}.")
        self.load()

    def load(self) -> Ranking:
        """The index, made by whoever comes first."""
        with LOADING:
            return self.ranking

    @cached_property
    def ranking(self) -> Ranking:
        """The passages and their index."""
        folder = self.index
        if folder is None and self.corpus.stat().st_size > SMALL:
            folder = self.corpus.with_name(f"{self.corpus.name}.bm25")
        if folder is None:
            return Ranking(read_passages(self.corpus, max_bad_rows=self.max_bad_rows))
        return stored(self.corpus, folder, max_bad_rows=self.max_bad_rows)
