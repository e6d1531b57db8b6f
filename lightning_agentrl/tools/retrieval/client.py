"""JSON requests to one server: connections of each event loop, deadlines, and requests that are asked for together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import aiohttp

from lightning_agentrl.tools.base import InfrastructureError

Item = TypeVar("Item")
Found = TypeVar("Found")
_Asked: TypeAlias = tuple[Item, "asyncio.Future[Found]"]

SHOWN = 300
"""Characters of an unexpected reply that a message shows."""
ONE_BY_ONE = frozenset({200, 400, 413, 422, 500})
"""Statuses of unexpected replies that one item of a joined request may be the cause of. Others mean that the server has
enough to do."""


class ReplyError(InfrastructureError):
    """The server answered, but not with what was asked for."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class JSONServer:
    """Posts JSON to a server. Proxies that the environment names are not used."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connect to nothing yet.

        Args:
            url: of the server, without the path of a request.
            timeout: seconds per request.
        """
        self.url = url.rstrip("/")
        self.timeout = timeout
        # A session belongs to the event loop that it was made in, and rollouts may get a new loop.
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}

    async def post(self, path: str, body: Any) -> Any:
        """The server's reply to a body.

        Raises:
            InfrastructureError: no reply in time, or none that is JSON.
        """
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            for ended in [other for other in list(self._sessions) if other.is_closed()]:  # its session keeps it alive
                del self._sessions[ended]
            session = self._sessions[loop] = _Session(self.timeout)
        where = f"{self.url}{path}"
        try:
            async with session.http.post(where, json=body) as response:
                text = await response.text(errors="replace")
                status = response.status
        except TimeoutError as error:
            raise InfrastructureError(f"{where} did not answer within {self.timeout:g} seconds.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise InfrastructureError(f"{where} cannot be reached: {error}.") from error
        if status != 200:
            raise ReplyError(f"{where} answered with status {status}: {text[:SHOWN]}", status)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReplyError(f"{where} answered with something that is not JSON: {text[:SHOWN]!r}") from error

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        for loop, session in list(self._sessions.items()):
            with contextlib.suppress(RuntimeError):  # a loop that was closed took its connections along
                loop.call_soon_threadsafe(session.end)
        self._sessions.clear()


class _Session:
    """An HTTP session that is closed when its event loop ends, since loops cancel their tasks then."""

    def __init__(self, timeout: float) -> None:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout))
        self.keeper = asyncio.ensure_future(self._keep())

    @property
    def closed(self) -> bool:
        return self.http.closed or self.keeper.done()

    def end(self) -> None:
        self.keeper.cancel()

    async def _keep(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.http.close()


class Joined(Generic[Item, Found]):
    """Joins what many trajectories ask for at about the same time into one request."""

    def __init__(
        self, send: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Found]]], size: int, wait: float
    ) -> None:
        """Ask for nothing yet.

        Args:
            send: asks for many items at once, and gets as many answers in their order.
            size: greatest number of items per request.
            wait: seconds that the first item of a request waits for others.
        """
        self._send = send
        self._size = size
        self._wait = wait
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Asked[Item, Found]]] = WeakKeyDictionary()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Found:
        """The answer to an item."""
        loop = asyncio.get_running_loop()
        asked: _Asked[Item, Found] = (item, loop.create_future())
        waiting = self._waiting.setdefault(loop, [])
        waiting.append(asked)
        if len(waiting) == 1:
            loop.call_later(self._wait, self._flush, loop, waiting)
        if len(waiting) >= self._size:
            self._flush(loop, waiting)
        return await asked[1]

    def _flush(self, loop: asyncio.AbstractEventLoop, waiting: list[_Asked[Item, Found]]) -> None:
        """Send what waits, unless it was sent when it was full."""
        if self._waiting.get(loop) is waiting:
            del self._waiting[loop]
            task = loop.create_task(self._answer([asked for asked in waiting if not asked[1].cancelled()]))
            self._running.add(task)  # a loop knows its tasks by weak references only
            task.add_done_callback(self._running.discard)

    async def _answer(self, asked: Sequence[_Asked[Item, Found]]) -> None:
        if not asked:
            return
        try:
            answers = await self._send([item for item, _ in asked])
        except ReplyError as error:
            if len(asked) > 1 and error.status in ONE_BY_ONE:  # an item may not fail its neighbours
                await asyncio.gather(*(self._answer([one]) for one in asked))
            else:
                _fail(asked, error)
        except Exception as error:  # noqa: BLE001 - handed to who awaits it
            _fail(asked, error)
        else:
            for (_, future), answer in zip(asked, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(asked: Sequence[_Asked[Any, Any]], error: Exception) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(error)


def in_a_loop_of_its_own(ask: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Ask from code that is not async, whether or not an event loop is running here (notebooks have one)."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            asyncio.run(ask())
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, name="agentrl-check", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
