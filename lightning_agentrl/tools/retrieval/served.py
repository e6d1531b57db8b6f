"""BM25 in a server process of its own, started when it is needed and ended with this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.retrieval.client import in_a_loop_of_its_own
from lightning_agentrl.tools.retrieval.http_retriever import HTTPRetriever
from lightning_agentrl.tools.threads import in_thread

PATIENCE = 5.0
"""Seconds that a server has to end when it is told to."""
SHOWN = 600
"""Characters of what a failed server said that a message shows."""


@dataclass(frozen=True)
class ServedBM25(Retriever):
    """BM25 behind the retrieval protocol: searching takes no time from the process that trains and rolls out."""

    corpus: Path
    """Passages: .jsonl, .jsonl.gz, .json or .parquet with id and contents, or with id (or url), title and text."""
    index: Path | None = None
    """Folder to keep the index in; see BM25."""
    max_bad_rows: int = 10
    """Rows of the corpus that may be unusable; they are skipped with a warning."""
    max_batch: int = 64
    """Greatest number of queries per request."""
    timeout: float = 20.0
    """Seconds per request; less than the tool's own timeout, which would tell the policy instead."""
    _child: _Child = field(default_factory=lambda: _Child(), init=False, repr=False, compare=False)

    @property
    def url(self) -> str | None:
        """Of the server; None while it does not run."""
        client = self._child.client
        return client.url if client else None

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best passages of each query. A server that has died is started again."""
        client = self._child.client or await in_thread(self._start)
        return await client.search(queries, k)

    def check(self) -> None:
        """Start the server and search for something."""
        try:
            self._start()
            in_a_loop_of_its_own(lambda: self.search(["ready"], 1))
        except InfrastructureError as error:
            raise ValueError(str(error)) from error

    def close(self) -> None:
        """End the server."""
        self._child.end()

    def _start(self) -> HTTPRetriever:
        command = [sys.executable, "-m", "lightning_agentrl.tools.retrieval.server", "--port", "0"]
        command += ["--parent", str(os.getpid()), "--max-bad-rows", str(self.max_bad_rows)]
        command += ["--corpus", str(self.corpus), *(["--index", str(self.index)] if self.index else [])]
        return self._child.start(command, self)


class _Child:
    """The server process, if it runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._client: HTTPRetriever | None = None
        self._starting = threading.Lock()

    @property
    def client(self) -> HTTPRetriever | None:
        """Who talks to it; None while it does not run."""
        process = self._process
        return self._client if process is not None and process.poll() is None else None

    def start(self, command: Sequence[str], settings: ServedBM25) -> HTTPRetriever:
        """Start it unless it runs; blocks until it listens, which takes as long as indexing the corpus does."""
        with self._starting:
            running = self.client
            if running is not None:
                return running
            self._release()
            with tempfile.TemporaryFile("w+") as complaints:
                self._process, url = _listening(command, complaints)
            weakref.finalize(self, _end, self._process)  # for runs that fail before anything is closed
            self._client = HTTPRetriever(url, max_batch=settings.max_batch, timeout=settings.timeout)
            return self._client

    def end(self) -> None:
        """End it."""
        with self._starting:
            self._release()

    def _release(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            _end(self._process)
        self._process = self._client = None


def _listening(command: Sequence[str], complaints: IO[str]) -> tuple[subprocess.Popen[str], str]:
    """A server process and its url.

    Raises:
        InfrastructureError: it ended instead; with what it said.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        start_new_session=True,  # Ctrl-C is for the trainer, which ends it in time
    )
    assert process.stdout is not None
    line = ""
    try:
        with process.stdout as said:
            line = said.readline()
        return process, str(json.loads(line)["url"])
    except BaseException as error:  # also Ctrl-C while it reads the corpus
        _end(process)
        if not isinstance(error, ValueError | KeyError):
            raise
        complaints.seek(0)
        reason = complaints.read()[-SHOWN:].strip()
        raise InfrastructureError(f"The retrieval server did not start: {line}{reason}") from None


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
