"""Searching as slowly or as badly as a test wants it: a retriever that waits, and a server told what to answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lightning_agentrl.tools.retrieval import Hit, Retriever


@dataclass(frozen=True)
class SlowRetriever(Retriever):
    """Another retriever, and some seconds later."""

    inner: Retriever
    seconds: float

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What the other one finds."""
        await asyncio.sleep(self.seconds)
        return await self.inner.search(queries, k)


Answer = Callable[[str, Any], tuple[int, Any]]
"""Path and body of a request to status and reply: bytes as they are, anything else as JSON."""


class ScriptedServer(ThreadingHTTPServer):
    """Answers with a script, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        """Listen on a free port of the loopback interface."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.paths: list[str] = []
        self.asked: list[Any] = []
        self.connections: set[tuple[str, int]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def scripted_server(answer: Answer) -> Iterator[ScriptedServer]:
    """A running server; it ends with the block."""
    with ScriptedServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def echo(path: str, body: Any) -> tuple[int, Any]:
    """Finds one passage per query, which repeats it."""
    found = ({"id": str(n), "contents": f'"{query}"\nabout {query}'} for n, query in enumerate(body["queries"]))
    return 200, {"result": [[{"document": document, "score": 1.0}] for document in found]}


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        self.server.asked.append(body)
        self.server.connections.add(self.client_address)
        status, reply = self.server.answer(self.path, body)
        content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet."""
