"""Search: ranking, rendering, and whether the built-in worlds can be searched."""

import asyncio
from random import Random

import pytest

from lightning_agentrl.data.iso_world import iso_world
from lightning_agentrl.data.synthetic_world import synthetic_world
from lightning_agentrl.tools.base import Tool, schema
from lightning_agentrl.tools.search import SearchTool

PASSAGES = [
    '"Kelto"\nThe mentor of Kelto is Anra.',
    '"Anra"\nThe mentor of Anra is Bodor.',
    '"Anra"\nThe rival of Anra is Kelto.',
    '"İzmir"\nThe country of İzmir is Türkiye.',
]


def test_the_passage_titled_with_the_subject_comes_first() -> None:
    assert SearchTool(PASSAGES, top_k=1).lookup("mentor of Anra").text == PASSAGES[1]


def test_results_are_passages_joined_by_newlines_best_first() -> None:
    # "mentor" is in two passages, "Anra" in three, so mentioning the former counts more.
    assert SearchTool(PASSAGES).lookup("mentor of Anra").text == "\n".join([PASSAGES[1], PASSAGES[0], PASSAGES[2]])


def test_unrelated_passages_are_not_shown() -> None:
    assert SearchTool(PASSAGES).rank("Türkiye") == [3]


def test_equal_scores_keep_the_order_of_passages() -> None:
    assert SearchTool(["red fox"] * 7 + ["blue fox"], top_k=3).rank("red") == [0, 1, 2]


def test_more_results_than_passages_are_no_error() -> None:
    assert SearchTool(PASSAGES, top_k=50).rank("mentor") == [0, 1]


@pytest.mark.parametrize("query", ["zzz", "the of", "?!", "a"])
def test_a_query_that_matches_nothing_is_a_good_call(query: str) -> None:
    result = SearchTool(PASSAGES).lookup(query)
    assert (result.text, result.ok) == ("No results.", True)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_a_failed_call(query: str) -> None:
    result = asyncio.run(SearchTool(PASSAGES)(query=query))
    assert (result.ok, result.error_kind) == (False, "bad_arguments")


def test_searches_side_by_side_do_not_disturb_each_other() -> None:
    search = SearchTool(PASSAGES)
    queries = ["mentor of Anra", "mentor of Kelto", "country of İzmir"] * 20

    async def together() -> list[str]:
        calls = (asyncio.to_thread(search.lookup, query) for query in queries)
        return [result.text for result in await asyncio.gather(*calls)]

    assert asyncio.run(together()) == [search.lookup(query).text for query in queries]


def test_search_is_a_tool_with_a_schema() -> None:
    search: Tool = SearchTool(PASSAGES)
    assert schema(search)["function"]["parameters"]["required"] == ["query"]


@pytest.mark.parametrize(("passages", "top_k"), [([], 3), (PASSAGES, 0)])
def test_an_index_without_passages_or_results_is_refused(passages: list[str], top_k: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        SearchTool(passages, top_k)


def test_every_synthetic_fact_is_the_first_result_of_its_query() -> None:
    for seed in range(3):
        world = synthetic_world(Random(seed))
        search = SearchTool(world.passages, top_k=1)
        assert [search.rank(fact.query) for fact in world.facts] == [[n] for n in range(len(world.facts))]


def test_every_iso_fact_is_among_the_first_three_results_of_its_query() -> None:
    pytest.importorskip("pycountry")
    world = iso_world()
    search = SearchTool(world.passages, top_k=3)
    assert all(number in search.rank(fact.query) for number, fact in enumerate(world.facts))
