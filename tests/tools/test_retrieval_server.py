"""Our retrieval server, as a process of its own."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

from lightning_agentrl.tools.retrieval import BM25, HTTPRetriever, PageServer, ServedBM25
from lightning_agentrl.tools.retrieval.server import LARGEST_BODY

TEXTS = [
    '"Kelto"\nThe mentor of Kelto is Anra.',
    '"Anra"\nThe mentor of Anra is Bodor.',
    '"İzmir"\nThe country of İzmir is Türkiye.',
]
MODULE = "lightning_agentrl.tools.retrieval.server"
GONE = 20.0
"""Seconds within which a process that should end must have ended."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [{"id": f"p{number}", "url": f"https://w/{number}", "contents": text} for number, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def servers() -> list[psutil.Process]:
    """Those that this process has started."""
    alive = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    return [child for child in alive if MODULE in child.cmdline()]


@pytest.fixture(scope="module")
def served(corpus: Path) -> Iterator[ServedBM25]:
    served = ServedBM25(corpus)
    served.check()
    yield served
    served.close()
    assert not servers()


@pytest.fixture(scope="module")
def url(served: ServedBM25) -> str:
    assert served.url is not None
    return served.url


def post(url: str, body: bytes) -> tuple[int, Any]:
    request = Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=GONE) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


def test_it_listens_on_this_machine_only(url: str) -> None:
    assert url.startswith("http://127.0.0.1:")


def test_it_finds_what_bm25_finds(url: str, served: ServedBM25, corpus: Path) -> None:
    queries = ["mentor of Anra", "Türkiye", "zzz"]
    expected = asyncio.run(BM25(corpus).search(queries, 2))
    assert asyncio.run(HTTPRetriever(url).search(queries, 2)) == expected
    assert asyncio.run(served.search(queries, 2)) == expected


def test_without_scores_documents_come_bare(url: str) -> None:
    assert post(f"{url}/retrieve", b'{"queries": ["T\\u00fcrkiye"], "topk": 1}') == (
        200,
        {"result": [[{"id": "p2", "contents": TEXTS[2]}]]},
    )


def test_pages_are_known_by_id_and_by_url(url: str) -> None:
    async def both(pages: PageServer) -> list[str | None]:
        return [await pages.contents(name) for name in ("p1", "https://w/1", "p9")]

    assert asyncio.run(both(PageServer(url))) == [TEXTS[1], TEXTS[1], None]


@pytest.mark.parametrize(
    ("path", "body", "status", "complaint"),
    [
        ("/retrieve", b"{", 400, "not JSON"),
        ("/retrieve", b"[]", 422, "must be a JSON object"),
        ("/retrieve", b'{"queries": "mentor"}', 422, "queries must be a list"),
        ("/retrieve", b'{"queries": [1]}', 422, "queries must be a list"),
        ("/retrieve", b'{"queries": ["a"], "topk": 0}', 422, "topk must be a whole number"),
        ("/retrieve", b'{"queries": ["a"], "topk": true}', 422, "topk must be a whole number"),
        ("/access", b"{}", 422, "urls must be a list"),
        ("/rerank", b"{}", 404, "there is no /rerank, only /retrieve, /access"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(url: str, path: str, body: bytes, status: int, complaint: str) -> None:
    answered, reply = post(url + path, body)
    assert answered == status
    assert complaint in reply["error"]


def test_a_body_that_is_too_long_is_not_read(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with create_connection((host, int(port)), timeout=GONE) as connection:
        connection.sendall(f"POST /retrieve HTTP/1.1\r\nContent-Length: {LARGEST_BODY + 1}\r\n\r\n".encode())
        assert b" 413 " in connection.makefile("rb").readline()


def test_a_corpus_that_cannot_be_used_is_noticed_before_a_run(tmp_path: Path) -> None:
    before = servers()
    with pytest.raises(ValueError, match="did not start: error: There is no corpus at"):
        ServedBM25(tmp_path / "none.jsonl").check()
    assert servers() == before


@pytest.mark.slow
def test_it_comes_back_after_it_died_and_does_not_outlive_its_retriever(corpus: Path) -> None:
    before = servers()
    served = ServedBM25(corpus)
    expected = asyncio.run(BM25(corpus).search(["mentor of Anra"], 2))
    assert asyncio.run(served.search(["mentor of Anra"], 2)) == expected
    (child,) = (each for each in servers() if each not in before)
    child.kill()
    psutil.wait_procs([child], GONE)
    assert asyncio.run(served.search(["mentor of Anra"], 2)) == expected
    del served
    assert servers() == before


@pytest.mark.slow
def test_it_ends_on_sigterm(corpus: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, "--port", "0", "--corpus", str(corpus)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["passages"] == len(TEXTS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(GONE) == 0


@pytest.mark.slow
def test_it_ends_with_its_parent(corpus: Path) -> None:
    script = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-m', '{MODULE}', '--port', '0', "
        "'--corpus', sys.argv[1], '--parent', str(os.getpid())], stdout=subprocess.PIPE, text=True); "
        "p.stdout.readline(); print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(corpus)], capture_output=True, text=True)
    try:
        server = psutil.Process(int(done.stdout))
    except psutil.NoSuchProcess:
        return
    server.wait(GONE)
