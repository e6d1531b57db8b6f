"""Where whole pages come from: a file of pages, or a page server. Nothing here opens an address that a policy named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from lightning_agentrl.data.fields import fields
from lightning_agentrl.data.readers import each_row, passage
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.tools.retrieval.client import Joined, JSONServer, in_a_loop_of_its_own
from lightning_agentrl.tools.retrieval.protocol import access_body, read_accessed
from lightning_agentrl.tools.threads import in_thread

LOADING = Lock()


class Pages(ABC):
    """Pages by their id or URL."""

    timeout: float | None = None
    """Seconds after which opening a page counts as failed machinery; None where it takes no time to speak of."""

    @abstractmethod
    async def contents(self, id: str) -> str | None:
        """The quoted title on a line of its own, if there is one, then the text; None if there is no such page.

        Raises:
            InfrastructureError: when what it runs on failed.
        """

    def check(self) -> None:  # noqa: B027 - optional
        """See that it works, before a run; raises a ValueError that says what to do."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release connections; a later call may open them again."""


@dataclass(frozen=True)
class PageFile(Pages):
    """Pages of a file, held in memory by each process; a page server suits more than some gigabytes of them."""

    corpus: Path
    """Pages: .jsonl, .jsonl.gz, .json or .parquet with id or url or both, and contents, or title and text."""
    max_bad_rows: int = 10
    """Rows that may be unusable; they are skipped with a warning."""

    async def contents(self, id: str) -> str | None:
        """The page with this id or URL."""
        if "_pages" not in self.__dict__:
            await in_thread(self.load)
        return self._pages.get(id)

    def check(self) -> None:
        """Read the file."""
        if not self.corpus.is_file():
            raise ValueError(f"There is no file of pages at {self.corpus}.")
        self.load()

    def load(self) -> None:
        """Read the file, unless somebody else came first."""
        with LOADING:
            _ = self._pages

    @cached_property
    def _pages(self) -> dict[str, str]:
        return pages_by_name(self.corpus, self.max_bad_rows)


@dataclass(frozen=True)
class PageServer(Pages):
    """Pages of a server: ``POST /access {"urls": […]}``, as ASearcher's and ours answer it.

    The server alone decides what may be opened: ids and URLs that a policy writes are sent to it as text and never
    opened from here. One that reaches out to the web must refuse addresses of its own network.
    """

    url: str
    """Of the server, such as http://127.0.0.1:8000."""
    max_batch: int = 16
    """Greatest number of pages per request."""
    wait: float = 0.003
    """Seconds that the first page of a request waits for others."""
    timeout: float = 20.0
    """Seconds per request; less than the tool's own timeout, which would tell the policy instead."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must be an address with http:// or https://, got {self.url!r}.")
        if self.max_batch < 1 or self.wait < 0 or self.timeout <= 0:
            raise ValueError(f"max_batch, wait and timeout of a page server must be positive, got {self}.")

    async def contents(self, id: str) -> str | None:
        """The page that the server has by this id or URL."""
        return await self._joined(id)

    def check(self) -> None:
        """Ask for a page, which need not be there.

        Raises:
            ValueError: there is no answer, or one that is not understood.
        """
        try:
            in_a_loop_of_its_own(lambda: self.contents("ready"))
        except InfrastructureError as error:
            raise ValueError(
                f"The page server is not ready: {error} Start it, or correct the url of the pages. For a page that it "
                f"does not have, it must answer null."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    async def _ask(self, ids: Sequence[str]) -> list[str | None]:
        return read_accessed(await self._server.post("/access", access_body(ids)), len(ids))

    @cached_property
    def _server(self) -> JSONServer:
        return JSONServer(self.url, self.timeout)

    @cached_property
    def _joined(self) -> Joined[str, str | None]:
        return Joined(self._ask, self.max_batch, self.wait)


@dataclass(frozen=True)
class _Page:
    """A page by all its names."""

    id: str
    names: tuple[str, ...]
    contents: str


def pages_by_name(corpus: Path, max_bad_rows: int) -> dict[str, str]:
    """Contents by id and by URL."""

    def page(_: int, row: object) -> _Page:
        found, url = passage(fields(row)), fields(row).get("url")
        return _Page(found.id, (found.id, str(url)) if url else (found.id,), found.contents)

    pages = each_row(corpus, page, max_bad_rows=max_bad_rows)
    return {name: page.contents for page in pages for name in page.names}
