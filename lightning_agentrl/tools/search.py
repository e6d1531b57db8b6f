"""The search tool: shows a policy what a retriever finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.retrieval.ranking import Ranking
from lightning_agentrl.types import CallError

Show = Literal["passages", "snippets"]
EMPTY = ToolResult("Error: the query is empty.", ok=False, error_kind=CallError.WRONG_TYPE)


@dataclass(frozen=True)
class SearchTool(Tool):
    """Searches a collection of passages."""

    retriever: Retriever | Sequence[str]
    """What ranks the passages; or the passages themselves, to be ranked by BM25 in this process."""
    top_k: int = 3
    """Greatest number of passages per result, at least 1."""
    show: Show = "passages"
    """Whole passages, or a line of each with its id, by which the fetch tool opens it, its title and how it begins."""
    snippet_characters: int = 200
    """How much of a passage such a line shows, at least 0; with 0 the title stands alone."""
    name: str = "search"
    """What the policy calls it by."""
    limits: ToolLimits = ToolLimits()  # noqa: RUF009 - frozen
    """What a search may cost."""

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.snippet_characters < 0:
            raise ValueError(
                f"top_k must be at least 1 and snippet_characters at least 0, got {self.top_k} and "
                f"{self.snippet_characters}."
            )
        patience = self.source.timeout  # building the source also shows whether there are passages
        if patience is not None and patience >= self.limits.timeout:
            raise ValueError(
                f"The retriever waits {patience:g} seconds, the tool {self.limits.timeout:g}: the policy would be "
                f"blamed for a slow server. Let the retriever's timeout be the smaller one."
            )

    @property
    def description(self) -> str:
        """What the policy is told about it."""
        if self.show == "passages":
            return "Search a collection of passages. Returns the passages that match the query best."
        return (
            "Search a collection of pages. Returns the ids, titles and first words of those that match the query best."
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        query = {"type": "string", "description": "What to search for."}
        return {"type": "object", "properties": {"query": query}, "required": ["query"]}

    async def __call__(self, **arguments: Any) -> ToolResult:
        """Search for ``query``."""
        query = arguments["query"]
        if not query.strip():
            return EMPTY
        (hits,) = await self.source.search([query], self.top_k)
        return ToolResult(self.shown(hits))

    def lookup(self, query: str) -> ToolResult:
        """What a call comes to, at once; for passages at hand."""
        return ToolResult(self.shown(self._at_hand.hits(query, self.top_k))) if query.strip() else EMPTY

    def rank(self, query: str) -> list[int]:
        """Numbers of the best passages, best first; for passages at hand."""
        return self._at_hand.rank(query, self.top_k)

    def shown(self, hits: Sequence[Hit]) -> str:
        """What the policy reads."""
        if not hits:
            return "No results."
        return "\n".join(hit.contents if self.show == "passages" else self._snippet(hit) for hit in hits)

    def close(self) -> None:
        """Close the retriever."""
        self.source.close()

    @cached_property
    def source(self) -> Retriever:
        """What ranks the passages."""
        if isinstance(self.retriever, Retriever):
            return self.retriever
        return Ranking.of(self.retriever)

    @property
    def _at_hand(self) -> Ranking:
        if not isinstance(self.source, Ranking):
            raise TypeError(f"{type(self.source).__name__} cannot answer at once; await the tool instead.")
        return self.source

    def _snippet(self, hit: Hit) -> str:
        line = f"[{hit.id}] {hit.title}".rstrip()
        words = " ".join(hit.text.split())
        if not self.snippet_characters or not words:
            return line
        cut = words[: self.snippet_characters].rstrip() + (" …" if len(words) > self.snippet_characters else "")
        return f"{line}: {cut}" if hit.title else f"{line} {cut}"
