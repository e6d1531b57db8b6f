"""The fetch tool: pages from a file and from a server, in parts."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.testing.retriever import scripted_server
from lightning_agentrl.tools.base import InfrastructureError, ToolResult
from lightning_agentrl.tools.fetch import FetchTool
from lightning_agentrl.tools.retrieval import PageFile, PageServer
from lightning_agentrl.tools.retrieval import pages as retrieval_pages
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import CallError, ParsedCall

PAGE = '"Osk"\n0123456789'  # 16 characters


@pytest.fixture
def pages(tmp_path: Path) -> PageFile:
    rows = [{"id": 7, "url": "https://w/osk", "title": "Osk", "text": "0123456789"}, {"url": "u", "contents": "short"}]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PageFile(path)


def fetch(tool: FetchTool, **arguments: Any) -> ToolResult:
    return asyncio.run(Toolbox([tool]).run(ParsedCall("fetch", arguments)))


@pytest.mark.parametrize("name", ["7", " 7\n", "https://w/osk"])
def test_a_page_is_opened_by_its_id_or_its_url(pages: PageFile, name: str) -> None:
    assert fetch(FetchTool(pages), id=name).text == PAGE


def test_a_page_without_an_id_is_known_by_its_url(pages: PageFile) -> None:
    assert fetch(FetchTool(pages), id="u").text == "short"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, '"Osk"\n0\n[part 1 of 3]'),
        ({"page": 1}, '"Osk"\n0\n[part 1 of 3]'),
        ({"page": 2}, "1234567\n[part 2 of 3]"),
        ({"page": 3}, "89\n[part 3 of 3]"),
    ],
)
def test_a_long_page_comes_in_parts(pages: PageFile, arguments: dict[str, int], text: str) -> None:
    assert fetch(FetchTool(pages, page_characters=7), id="7", **arguments).text == text


def test_a_page_that_just_fits_has_one_part(pages: PageFile) -> None:
    assert fetch(FetchTool(pages, page_characters=16), id="7").text == PAGE


@pytest.mark.parametrize("page", [0, -1, 4])
def test_a_part_that_is_not_there_is_an_error_that_says_how_many_there_are(pages: PageFile, page: int) -> None:
    result = fetch(FetchTool(pages, page_characters=7), id="7", page=page)
    assert (result.ok, result.error_kind) == (False, "not_found")
    assert f"has 3 parts, there is no part {page}" in result.text


def test_a_page_that_is_not_there_is_an_error_that_says_what_to_do(pages: PageFile) -> None:
    result = fetch(FetchTool(pages), id="https://elsewhere.example")
    assert (result.ok, result.error_kind) == (False, "not_found")
    assert "no page 'https://elsewhere.example'; use an id that a search showed" in result.text


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, CallError.MISSING_ARGUMENT),
        ({"id": 7}, CallError.WRONG_TYPE),
        ({"id": "7", "page": "2"}, CallError.WRONG_TYPE),
    ],
)
def test_arguments_of_another_form_are_mistakes_of_the_policy(
    pages: PageFile, arguments: dict[str, Any], kind: CallError
) -> None:
    assert fetch(FetchTool(pages), **arguments).error_kind == kind


def test_a_part_of_any_length_is_shown_whole(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps({"id": "long", "contents": "x" * 50_000}))
    result = fetch(FetchTool(PageFile(path), page_characters=20_000), id="long")
    assert (result.text, result.truncated) == ("x" * 20_000 + "\n[part 1 of 3]", False)


def test_a_missing_file_of_pages_is_noticed_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of pages at"):
        PageFile(tmp_path / "none.jsonl").check()


def test_a_page_server_is_asked_for_the_name_and_nothing_else_is_opened() -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        assert path == "/access"
        return 200, {"result": [{"contents": f"about {url}"} for url in body["urls"]]}

    with scripted_server(answer) as server:
        tool = FetchTool(PageServer(server.url))
        # The address of another server on this machine is a name like any other.
        assert fetch(tool, id=f"{server.url}/secret").text == f"about {server.url}/secret"
        assert server.asked == [{"urls": [f"{server.url}/secret"]}]


def test_pages_of_many_trajectories_share_a_request() -> None:
    async def run(pages: PageServer) -> list[str | None]:
        return await asyncio.gather(*(pages.contents(name) for name in "abc"))

    with scripted_server(lambda path, body: (200, {"result": [None, {"contents": "b"}, {"contents": ""}]})) as server:
        assert asyncio.run(run(PageServer(server.url))) == [None, "b", None]
        assert server.asked == [{"urls": ["a", "b", "c"]}]


@pytest.mark.parametrize("reply", [{"result": []}, {"result": [{"page": "x"}]}, {"result": [7]}, [], b"busy"])
def test_a_page_server_that_answers_nonsense_is_failed_machinery(reply: Any) -> None:
    with (
        scripted_server(lambda path, body: (200, reply)) as server,
        pytest.raises(InfrastructureError, match=r"server must|server was asked|not JSON"),
    ):
        asyncio.run(PageServer(server.url).contents("a"))


@pytest.mark.parametrize("settings", [{"url": "file:///etc/passwd"}, {"max_batch": 0}, {"timeout": 0}])
def test_settings_of_a_page_server_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PageServer(**{"url": "http://127.0.0.1:8000", **settings})


def test_a_page_server_that_is_not_there_is_noticed_before_a_run() -> None:
    with scripted_server(lambda path, body: (200, {"result": [None]})) as server:
        PageServer(server.url).check()
        url = server.url
    with pytest.raises(ValueError, match=r"page server is not ready: .*cannot be reached.*must answer null"):
        PageServer(url).check()


def test_pages_that_are_slower_than_the_tool_are_refused() -> None:
    with pytest.raises(ValueError, match="pages may take 60 seconds, the tool 30"):
        FetchTool(PageServer("http://127.0.0.1:8000", timeout=60.0))


def test_a_file_of_pages_is_read_once_and_beside_the_event_loop(
    pages: PageFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by: list[int] = []

    def slowly(corpus: Path, max_bad_rows: int) -> dict[str, str]:
        read_by.append(threading.get_ident())
        time.sleep(0.05)
        return {"a": "x"}

    async def run() -> list[str | None]:
        return await asyncio.gather(*(pages.contents("a") for _ in range(4)))

    monkeypatch.setattr(retrieval_pages, "pages_by_name", slowly)
    assert asyncio.run(run()) == ["x"] * 4
    assert len(read_by) == 1
    assert read_by != [threading.get_ident()]


def test_a_part_without_length_is_refused(pages: PageFile) -> None:
    with pytest.raises(ValueError, match="page_characters must be at least 1"):
        FetchTool(pages, page_characters=0)
