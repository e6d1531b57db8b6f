"""A retrieval server: BM25 over a corpus behind Search-R1's protocol, and the corpus' pages.

    python -m lightning_agentrl.tools.retrieval.server --corpus corpus.jsonl --port 8000

It listens on this machine only unless --host says otherwise, and knows no users. The first line that it prints is JSON
with its url. It ends on SIGTERM and SIGINT, and with --parent also when that process is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from lightning_agentrl.tools.retrieval.base import Hit
from lightning_agentrl.tools.retrieval.bm25 import BM25
from lightning_agentrl.tools.retrieval.pages import pages_by_name
from lightning_agentrl.tools.retrieval.ranking import Ranking

LARGEST_BODY = 16 * 2**20
"""Bytes."""
MOST_QUERIES = 4096
MOST_RESULTS = 1000


class Refused(Exception):
    """A request that makes no sense, and the status that says so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RetrievalServer(ThreadingHTTPServer):
    """Answers each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], ranking: Ranking, corpus: Path) -> None:
        """Listen.

        Args:
            address: host and port; port 0 takes a free one.
            ranking: what to search.
            corpus: where whole pages are; read when the first page is asked for.
        """
        super().__init__(address, _Handler)
        self.ranking = ranking
        self._corpus = corpus
        self._pages: dict[str, str] | None = None
        self._reading = threading.Lock()

    def server_bind(self) -> None:
        """Take the port, without the look-up of names that HTTPServer makes and that may hang."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_name}:{self.server_port}"

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        """What to reply to a request."""
        answers: dict[str, Callable[[Any], list[Any]]] = {"/retrieve": self._retrieve, "/access": self._access}
        if path not in answers:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no {path}, only {', '.join(answers)}")
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "the body must be a JSON object")
        return {"result": answers[path](body)}

    def _retrieve(self, body: dict[str, Any]) -> list[Any]:
        queries, k, scored = _texts(body, "queries"), body.get("topk", 3), body.get("return_scores", False)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_RESULTS:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"topk must be a whole number from 1 to {MOST_RESULTS}")
        found = [self.ranking.hits(query, k) for query in queries]
        return [[_document(hit, scored) for hit in hits] for hits in found]

    def _access(self, body: dict[str, Any]) -> list[Any]:
        urls = _texts(body, "urls")
        with self._reading:
            if self._pages is None:
                self._pages = pages_by_name(self._corpus, max_bad_rows=sys.maxsize)
        found = [self._pages.get(url) for url in urls]
        return [None if contents is None else {"contents": contents} for contents in found]


class _Handler(BaseHTTPRequestHandler):
    server: RetrievalServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, and the second would wait for an ACK
    timeout = 600  # seconds until an idle connection is closed

    def do_POST(self) -> None:
        try:
            answer, status = self.server.answer(self.path, self._body()), HTTPStatus.OK
        except Refused as refused:
            answer, status = {"error": str(refused)}, refused.status
        except Exception as error:  # noqa: BLE001 - a request must not end in silence
            answer, status = {"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR
        self._reply(status, answer)

    def do_GET(self) -> None:
        known = self.path == "/health"
        answer = {"passages": len(self.server.ranking.passages)} if known else {"error": "only GET /health"}
        self._reply(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND, answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet about every request."""

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True  # what follows cannot be told from the next request
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Content-Length must be at most {LARGEST_BODY}")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error

    def _reply(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _document(hit: Hit, scored: bool) -> dict[str, Any]:
    document = {"id": hit.id, "contents": hit.contents}
    return {"document": document, "score": hit.score} if scored else document


def _texts(body: dict[str, Any], key: str) -> list[str]:
    texts = body.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or len(texts) > MOST_QUERIES:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{key} must be a list of at most {MOST_QUERIES} texts")
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="passages: .jsonl, .jsonl.gz, .json or .parquet")
    parser.add_argument("--index", type=Path, help="folder to keep the index in; beside a large corpus by default")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; anyone who reaches it may ask")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--max-bad-rows", type=int, default=10, help="rows of the corpus that may be unusable")
    parser.add_argument("--parent", type=int, help="id of the process that started this one, to end with it")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if options.parent is not None:
        threading.Thread(target=_end_with, args=(options.parent,), daemon=True).start()
    bm25 = BM25(options.corpus, options.index, options.max_bad_rows)
    try:
        bm25.check()
    except ValueError as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - a command of its own
        return 1
    with RetrievalServer((options.host, options.port), bm25.ranking, options.corpus) as server:
        about = {"url": server.url, "passages": len(bm25.ranking.passages), "pid": os.getpid()}
        print(json.dumps(about), flush=True)  # noqa: T201
        server.serve_forever()
    return 0


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
