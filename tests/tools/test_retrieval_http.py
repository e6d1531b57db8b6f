"""HTTPRetriever: batches, deadlines, and servers that behave badly."""

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lightning_agentrl.testing.retriever import Answer, ScriptedServer, echo, scripted_server
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.retrieval import Hit, HTTPRetriever

NEVER = 30.0
"""Seconds that a test which waits for something is given before it fails."""


async def together(retriever: HTTPRetriever, queries: Sequence[str], k: int = 1) -> list[Hit]:
    """What one trajectory per query finds first."""
    found = await asyncio.gather(*(retriever.search([query], k) for query in queries))
    return [hits[0] for (hits,) in found]


def search(answer: Answer, *queries: str, **settings: Any) -> list[list[Hit]]:
    with scripted_server(answer) as server:
        return asyncio.run(HTTPRetriever(server.url, **settings).search(queries, 3))


def replying(reply: Any, status: int = 200) -> Answer:
    return lambda path, body: (status, reply)


def test_the_request_is_that_of_search_r1() -> None:
    with scripted_server(echo) as server:
        asyncio.run(HTTPRetriever(server.url).search(["who built osk"], 5))
        assert server.paths == ["/retrieve"]
        assert server.asked == [{"queries": ["who built osk"], "topk": 5, "return_scores": True}]


@pytest.mark.parametrize("suffix", ["", "/", "/retrieve"])
def test_the_path_may_be_part_of_the_url(suffix: str) -> None:
    with scripted_server(echo) as server:
        assert asyncio.run(HTTPRetriever(server.url + suffix).search(["a"], 1))[0][0].title == "a"
        assert server.paths == ["/retrieve"]


@pytest.mark.parametrize(
    ("item", "hit"),
    [
        ({"document": {"id": "7", "contents": "x"}, "score": 0.5}, Hit("7", "x", 0.5)),
        ({"document": {"id": 7, "contents": "x"}, "score": None}, Hit("7", "x")),
        ({"document": {"contents": "x"}, "score": 0.5}, Hit("0", "x", 0.5)),
        ({"id": "7", "contents": "x"}, Hit("7", "x")),
        ({"url": "https://osk.example", "contents": "x"}, Hit("https://osk.example", "x")),
        ({"document": {"id": "7", "title": "Osk", "text": "x"}, "score": 0.5}, Hit("7", '"Osk"\nx', 0.5)),
    ],
)
def test_documents_are_understood_in_the_forms_that_servers_give_them(item: Any, hit: Hit) -> None:
    assert search(replying({"result": [[item]]}), "a") == [[hit]]


def test_more_hits_than_were_asked_for_are_left_out() -> None:
    many = [{"id": str(n), "contents": "x"} for n in range(9)]
    assert [hit.id for hit in search(replying({"result": [many]}), "a")[0]] == ["0", "1", "2"]


def test_a_blank_document_is_no_hit() -> None:
    documents = [{"id": "1", "contents": " "}, {"id": "2", "contents": "x"}]
    assert search(replying({"result": [documents]}), "a") == [[Hit("2", "x")]]


@pytest.mark.parametrize(
    "reply",
    [
        b"<html>busy</html>",
        b"[" * 100_000,
        [],
        {"error": "x"},
        {"result": "x"},
        {"result": [[], []]},
        {"result": [None]},
        {"result": [[3]]},
        {"result": [[{"document": None}]]},
        {"result": [[{"document": {"id": "1"}}]]},
        {"result": [[{"document": {"id": "1", "contents": 3}}]]},
        {"result": [[{"document": {"id": "1", "contents": "x"}, "score": "best"}]]},
    ],
)
def test_a_reply_of_another_form_is_failed_machinery_and_shown(reply: Any) -> None:
    with pytest.raises(InfrastructureError, match=r"A retrieval server|not JSON"):
        search(replying(reply), "a")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_of_the_server_is_failed_machinery_and_says_which(status: int) -> None:
    with pytest.raises(InfrastructureError, match=f"status {status}: .*too many cooks"):
        search(replying({"detail": "too many cooks"}, status), "a")


def test_a_server_that_is_not_there_is_failed_machinery() -> None:
    with scripted_server(echo) as server:
        url = server.url
    with pytest.raises(InfrastructureError, match=f"{url}/retrieve cannot be reached"):
        asyncio.run(HTTPRetriever(url).search(["a"], 1))


def test_a_server_that_hangs_is_failed_machinery() -> None:
    release = threading.Event()

    def hang(path: str, body: Any) -> tuple[int, Any]:
        release.wait(NEVER)
        return echo(path, body)

    with scripted_server(hang) as server:
        with pytest.raises(InfrastructureError, match=r"did not answer within 0\.05 seconds"):
            asyncio.run(HTTPRetriever(server.url, timeout=0.05).search(["a"], 1))
        release.set()


def test_queries_of_many_trajectories_share_requests() -> None:
    with scripted_server(echo) as server:
        queries = [f"q{number}" for number in range(20)]
        hits = asyncio.run(together(HTTPRetriever(server.url, max_batch=8, wait=1.0), queries[:16]))
        assert [hit.title for hit in hits] == queries[:16]
        # Full requests do not wait for the second that others might still come in.
        assert [len(asked["queries"]) for asked in server.asked] == [8, 8]


def test_a_request_that_does_not_fill_up_is_sent_all_the_same() -> None:
    with scripted_server(echo) as server:
        hits = asyncio.run(together(HTTPRetriever(server.url, max_batch=8, wait=0.001), ["a", "b", "c"]))
        assert [hit.title for hit in hits] == ["a", "b", "c"]
        assert [len(asked["queries"]) for asked in server.asked] == [3]


def test_searches_of_different_sizes_do_not_share_a_request() -> None:
    async def both(retriever: HTTPRetriever) -> None:
        await asyncio.gather(retriever.search(["a"], 1), retriever.search(["b"], 2))

    with scripted_server(echo) as server:
        asyncio.run(both(HTTPRetriever(server.url)))
        assert sorted((asked["topk"], asked["queries"]) for asked in server.asked) == [(1, ["a"]), (2, ["b"])]


@pytest.mark.parametrize("status", [422, 500])
def test_a_query_that_breaks_the_server_does_not_fail_its_neighbours(status: int) -> None:
    def fussy(path: str, body: Any) -> tuple[int, Any]:
        return (status, {"detail": "no"}) if "bad" in body["queries"] else echo(path, body)

    async def run(retriever: HTTPRetriever) -> list[Any]:
        asked = (retriever.search([query], 1) for query in ("a", "bad", "c"))
        return await asyncio.gather(*asked, return_exceptions=True)

    with scripted_server(fussy) as server:
        one, bad, three = asyncio.run(run(HTTPRetriever(server.url)))
    assert (one[0][0].title, three[0][0].title) == ("a", "c")
    assert isinstance(bad, InfrastructureError)


def test_a_server_with_enough_to_do_is_not_asked_one_by_one() -> None:
    async def run(retriever: HTTPRetriever) -> list[Any]:
        asked = (retriever.search([query], 1) for query in ("a", "b", "c"))
        return await asyncio.gather(*asked, return_exceptions=True)

    with scripted_server(replying({"detail": "busy"}, 503)) as server:
        assert all(isinstance(each, InfrastructureError) for each in asyncio.run(run(HTTPRetriever(server.url))))
        assert len(server.asked) == 1


def test_who_gives_up_does_not_take_the_others_along() -> None:
    async def run(retriever: HTTPRetriever) -> list[Any]:
        tasks = [asyncio.ensure_future(retriever.search([query], 1)) for query in ("a", "b", "c")]
        for _ in range(5):  # all get to ask, but nothing is sent yet
            await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with scripted_server(echo) as server:
        one, gone, three = asyncio.run(run(HTTPRetriever(server.url, wait=0.05)))
        assert server.asked[0]["queries"] == ["a", "c"]
    assert (one[0][0].title, three[0][0].title) == ("a", "c")
    assert isinstance(gone, asyncio.CancelledError)


def test_half_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    with scripted_server(echo) as server:
        asyncio.run(HTTPRetriever(server.url).search(["a\ud800b"], 1))
        assert server.asked[0]["queries"] == ["a?b"]


def test_requests_one_after_the_other_use_one_connection() -> None:
    async def run(retriever: HTTPRetriever) -> None:
        for query in "abc":
            await retriever.search([query], 1)

    with scripted_server(echo) as server:
        asyncio.run(run(HTTPRetriever(server.url, wait=0)))
        assert len(server.connections) == 1


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nothing answers there
    with scripted_server(echo) as server:
        assert asyncio.run(HTTPRetriever(server.url).search(["a"], 1))[0][0].title == "a"


def left_open(use: Callable[[HTTPRetriever], None], server: ScriptedServer) -> list[str]:
    """What is complained about when everything is collected after a use."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use(HTTPRetriever(server.url))
        gc.collect()
    return [str(warning.message) for warning in caught]


def test_the_end_of_an_event_loop_closes_its_connections() -> None:
    with scripted_server(echo) as server:
        assert left_open(lambda retriever: asyncio.run(retriever.search(["a"], 1)) and None, server) == []


def test_one_retriever_serves_one_event_loop_after_the_other() -> None:
    with scripted_server(echo) as server:
        retriever = HTTPRetriever(server.url)
        assert [asyncio.run(retriever.search([query], 1))[0][0].title for query in "ab"] == ["a", "b"]


def test_event_loops_that_ended_are_let_go_with_their_connections() -> None:
    with scripted_server(echo) as server:
        retriever, loops = HTTPRetriever(server.url), []

        async def run() -> None:
            loops.append(weakref.ref(asyncio.get_running_loop()))
            await retriever.search(["a"], 1)

        for _ in range(3):
            asyncio.run(run())
        gc.collect()
        assert [loop() is None for loop in loops] == [True, True, False]  # the last one goes with the next request


def test_closing_ends_connections_and_later_searches_open_new_ones() -> None:
    async def run(retriever: HTTPRetriever) -> list[str]:
        before = len(asyncio.all_tasks())
        first = await retriever.search(["a"], 1)
        retriever.close()
        while len(asyncio.all_tasks()) > before:  # whoever keeps the connection open
            await asyncio.sleep(0)
        second = await retriever.search(["b"], 1)
        return [first[0][0].title, second[0][0].title]

    with scripted_server(echo) as server:
        assert asyncio.run(asyncio.wait_for(run(HTTPRetriever(server.url)), NEVER)) == ["a", "b"]
        assert len(server.connections) == 2


def test_a_check_says_how_to_start_a_server() -> None:
    with scripted_server(echo) as server:
        HTTPRetriever(server.url).check()
        url = server.url
    with pytest.raises(ValueError, match=r"not ready: .*cannot be reached.*`python -m lightning_agentrl\.tools"):
        HTTPRetriever(url).check()


def test_a_check_works_where_an_event_loop_is_running() -> None:
    async def in_a_notebook(retriever: HTTPRetriever) -> None:
        retriever.check()

    with scripted_server(echo) as server:
        asyncio.run(in_a_notebook(HTTPRetriever(server.url)))


@pytest.mark.parametrize("settings", [{"url": "127.0.0.1:8000"}, {"max_batch": 0}, {"wait": -1}, {"timeout": 0}])
def test_settings_that_make_no_sense_are_refused_at_construction(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        HTTPRetriever(**{"url": "http://127.0.0.1:8000", **settings})
