"""Retrieval by a server that speaks Search-R1's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.retrieval.client import Joined, JSONServer, in_a_loop_of_its_own
from lightning_agentrl.tools.retrieval.protocol import read_retrieved, retrieve_body


@dataclass(frozen=True)
class HTTPRetriever(Retriever):
    """Asks a retrieval server; queries of trajectories that search at about the same time share a request.

    A server that fails, hangs or answers nonsense is an `InfrastructureError`: the policy is not told, and the search
    is tried again.
    """

    url: str
    """Of the server, such as http://127.0.0.1:8000; /retrieve is added where it is missing."""
    max_batch: int = 64
    """Greatest number of queries per request."""
    wait: float = 0.003
    """Seconds that the first query of a request waits for others."""
    timeout: float = 20.0
    """Seconds per request; less than the tool's own timeout, which would tell the policy instead."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must be an address with http:// or https://, got {self.url!r}.")
        if self.max_batch < 1 or self.wait < 0 or self.timeout <= 0:
            raise ValueError(f"max_batch, wait and timeout of a retriever must be positive, got {self}.")

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best passages of each query, as the server ranks them."""
        joined = self._joined.setdefault(k, Joined(lambda asked: self._ask(asked, k), self.max_batch, self.wait))
        return list(await asyncio.gather(*(joined(query) for query in queries)))

    def check(self) -> None:
        """Search for something.

        Raises:
            ValueError: there is no answer, or one that is not understood.
        """
        try:
            in_a_loop_of_its_own(lambda: self.search(["ready"], 1))
        except InfrastructureError as error:
            raise ValueError(
                f"The retrieval server is not ready: {error} Start one with `python -m "
                f"lightning_agentrl.tools.retrieval.server --corpus …`, or correct the url of the retriever."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    async def _ask(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        reply = await self._server.post("/retrieve", retrieve_body(queries, k))
        return [hits[:k] for hits in read_retrieved(reply, len(queries))]

    @cached_property
    def _server(self) -> JSONServer:
        return JSONServer(self.url.rstrip("/").removesuffix("/retrieve"), self.timeout)

    @cached_property
    def _joined(self) -> dict[int, Joined[str, list[Hit]]]:
        return {}
