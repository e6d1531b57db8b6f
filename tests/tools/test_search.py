"""The search tool: what a policy reads of what a retriever finds."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from lightning_agentrl.tools.base import Tool, ToolLimits, schema
from lightning_agentrl.tools.retrieval import Hit, HTTPRetriever, Retriever
from lightning_agentrl.tools.search import SearchTool
from lightning_agentrl.types import CallError

PASSAGES = [
    '"Kelto"\nThe mentor of Kelto is Anra.',
    '"Anra"\nThe mentor of Anra is Bodor.',
    '"Anra"\nThe rival of Anra is Kelto.',
    '"İzmir"\nThe country of İzmir is Türkiye.',
]


class Found(Retriever):
    """Finds the same passages whatever is asked, and counts how often it is closed."""

    def __init__(self, *hits: Hit) -> None:
        self.found = list(hits)
        self.closed = 0

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.found[:k] for _ in queries]

    def close(self) -> None:
        self.closed += 1


def shown(tool: SearchTool, query: str = "x") -> str:
    return asyncio.run(tool(query=query)).text


def test_results_are_passages_joined_by_newlines_best_first() -> None:
    # "mentor" is in two passages, "Anra" in three, so mentioning the former counts more.
    assert shown(SearchTool(PASSAGES), "mentor of Anra") == "\n".join([PASSAGES[1], PASSAGES[0], PASSAGES[2]])


def test_passages_at_hand_can_be_searched_at_once() -> None:
    tool = SearchTool(PASSAGES, top_k=1)
    assert tool.lookup("mentor of Anra") == asyncio.run(tool(query="mentor of Anra"))
    assert tool.rank("mentor of Anra") == [1]


def test_any_retriever_will_do() -> None:
    assert shown(SearchTool(Found(Hit("a", "one"), Hit("b", "two"), Hit("c", "three")), top_k=2)) == "one\ntwo"


def test_another_retriever_cannot_be_searched_at_once() -> None:
    with pytest.raises(TypeError, match="Found cannot answer at once"):
        SearchTool(Found()).lookup("x")


@pytest.mark.parametrize(
    ("hit", "characters", "line"),
    [
        (Hit("17", '"Osk"\nOsk is a town.'), 0, "[17] Osk"),
        (Hit("17", '"Osk"\nOsk is a town.'), 200, "[17] Osk: Osk is a town."),
        (Hit("17", '"Osk"\nOsk is\na town.'), 8, "[17] Osk: Osk is a …"),
        (Hit("https://w", "No title."), 200, "[https://w] No title."),
        (Hit("17", "No title."), 0, "[17]"),
    ],
)
def test_a_snippet_is_a_line_with_id_title_and_first_words(hit: Hit, characters: int, line: str) -> None:
    assert shown(SearchTool(Found(hit), show="snippets", snippet_characters=characters)) == line


def test_snippets_tell_the_policy_about_ids() -> None:
    assert "id" in SearchTool(Found(), show="snippets").description
    assert "id" not in SearchTool(Found()).description.split()


def test_no_hit_is_a_good_call() -> None:
    result = asyncio.run(SearchTool(Found())(query="zzz"))
    assert (result.text, result.ok) == ("No results.", True)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_a_mistake_of_the_policy(query: str) -> None:
    tool = SearchTool(PASSAGES)
    result = asyncio.run(tool(query=query))
    assert (result.ok, result.error_kind) == (False, CallError.WRONG_TYPE)
    assert tool.lookup(query) == result


def test_search_is_a_tool_with_a_schema() -> None:
    search: Tool = SearchTool(PASSAGES)
    assert schema(search)["function"]["parameters"]["required"] == ["query"]


def test_closing_the_tool_closes_its_retriever() -> None:
    retriever = Found()
    SearchTool(retriever).close()
    assert retriever.closed == 1


def test_searches_side_by_side_do_not_disturb_each_other() -> None:
    search = SearchTool(PASSAGES)
    queries = ["mentor of Anra", "mentor of Kelto", "country of İzmir"] * 20

    async def together() -> list[str]:
        calls = (asyncio.to_thread(search.lookup, query) for query in queries)
        return [result.text for result in await asyncio.gather(*calls)]

    assert asyncio.run(together()) == [search.lookup(query).text for query in queries]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"retriever": []}, "at least one passage"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"snippet_characters": -1}, "snippet_characters at least 0"),
        (
            {"retriever": HTTPRetriever("http://127.0.0.1:8000", timeout=5), "limits": ToolLimits(timeout=5)},
            "The retriever waits 5 seconds, the tool 5",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_construction(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SearchTool(**{"retriever": PASSAGES, **settings})
