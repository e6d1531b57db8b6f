"""How a built-in world is shown to a policy: as passages to search, or as pages to search and open."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lightning_agentrl.data.worlds import Fact, World
from lightning_agentrl.tools.search import SearchTool

Step = tuple[str, str]
"""What the policy says to call a tool, and what it is shown."""


class Library(ABC):
    """The texts of a world, and how a fact is looked up in them."""

    def __init__(self, world: World, top_k: int) -> None:
        """Show a world.

        Args:
            world: what the texts say.
            top_k: results per search.
        """
        self.world = world
        self.top_k = top_k

    @property
    @abstractmethod
    def texts(self) -> Sequence[str]:
        """Passages or pages, each with its quoted title; known by their numbers."""

    @abstractmethod
    def findable(self) -> list[Fact]:
        """The facts that `look_up` brings into sight."""

    @abstractmethod
    def look_up(self, fact: Fact) -> list[Step]:
        """The calls that look a fact up, or what one would look up if it were a fact, with their results."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """The texts as rows of a corpus."""
        return ({"id": str(number), "contents": text} for number, text in enumerate(self.texts))


class PassageLibrary(Library):
    """A passage per fact: one search shows it whole."""

    @property
    def texts(self) -> Sequence[str]:
        """Facts and distractors."""
        return self.world.passages

    def findable(self) -> list[Fact]:
        """Facts whose passage is among the results of their canonical query."""
        numbers = {passage: number for number, passage in enumerate(self.texts)}
        return [fact for fact in self.world.facts if numbers[fact.passage] in self._search.rank(fact.query)]

    def look_up(self, fact: Fact) -> list[Step]:
        """One search."""
        return [(tool_call(self._search.name, {"query": fact.query}), self._search.lookup(fact.query).text)]

    @cached_property
    def _search(self) -> SearchTool:
        return SearchTool(self.texts, self.top_k)


class PageLibrary(Library):
    """A page per fact: a search shows titles, and the page has to be opened."""

    @cached_property
    def texts(self) -> Sequence[str]:
        """Facts and distractors."""
        return self.world.pages

    def findable(self) -> list[Fact]:
        """Facts whose page is the first result of their canonical query."""
        return [fact for number, fact in enumerate(self.world.facts) if self._best(fact) == number]

    def look_up(self, fact: Fact) -> list[Step]:
        """A search, then the first page that it found."""
        searched = (tool_call(self._search.name, {"query": fact.query}), self._search.lookup(fact.query).text)
        number = self._best(fact)
        return [searched, (tool_call("fetch", {"id": str(number)}), self.texts[number])]

    def _best(self, fact: Fact) -> int:
        """Number of the first result; there is one, since each title is the query of its fact."""
        return self._search.rank(fact.query)[0]

    @cached_property
    def _search(self) -> SearchTool:
        return SearchTool(self.texts, self.top_k, show="snippets", snippet_characters=0)


def tool_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the policy is to write it."""
    call = json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"
