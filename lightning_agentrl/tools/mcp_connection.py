"""A session with an MCP server, kept open in a thread of its own and opened again after it broke."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lightning_agentrl.tools.base import InfrastructureError

if TYPE_CHECKING:
    from mcp import Client

T = TypeVar("T")
Ask = Callable[["Client"], Awaitable[T]]

PROBE = 3.0
"""Seconds within which a server that is in doubt must list its tools."""
CLOSING = 15.0
"""Seconds that closing may take; the client gives a server 4 to end by itself before it is killed."""


class _Session(NamedTuple):
    """An open session; whoever entered it must leave it, which is the keeper."""

    client: Client
    keeper: asyncio.Task[None]
    stop: asyncio.Event


class Connection:
    """Lets any event loop, and code without one, ask a server.

    The loop of rollouts may be replaced by another one; a session could not move with it. Sessions end for three
    reasons: `close`, the server's end, or a server that no longer answers. After the latter two, whoever waits for an
    answer gets an `InfrastructureError`, and the next request opens a new session.
    """

    def __init__(self, name: str, enter: Callable[[], AbstractAsyncContextManager[Client]], timeout: float) -> None:
        """Open nothing yet.

        Args:
            name: of the server, in messages.
            enter: opens a session.
            timeout: seconds that opening may take.
        """
        self._name = name
        self._enter = enter
        self._timeout = timeout
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening: asyncio.Task[_Session] | None = None
        self._keepers: set[asyncio.Task[None]] = set()
        self._probes: dict[asyncio.Task[None], asyncio.Task[bool]] = {}
        """By keeper of the session in doubt."""

    async def ask(self, question: Ask[T]) -> T:
        """Await the server's answer; cancelling this cancels the request.

        Raises:
            InfrastructureError: when the server cannot be reached, or ended meanwhile.
            MCPError: what the server answers to a request that it refuses.
        """
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(question), self._running()))

    def ask_now(self, question: Ask[T]) -> T:
        """Block until the server answers; see `ask`."""
        return asyncio.run_coroutine_threadsafe(self._ask(question), self._running()).result()

    @property
    def open(self) -> bool:
        """Whether there is a thread, and maybe a session, to close."""
        return self._loop is not None

    def close(self) -> None:
        """End session, server process and thread; may be called twice, and a later `ask` starts them again."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            atexit.unregister(self.close)
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CLOSING)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSING)
            self._loop.close()
            self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="agentrl-mcp", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            return self._loop

    # --- in the thread ------------------------------------------------------------------------------------------

    async def _ask(self, question: Ask[T]) -> T:
        from mcp import MCPError
        from mcp_types import INTERNAL_ERROR

        session = await self._opened()
        probe = self._probes.get(session.keeper)
        if probe is not None and not await asyncio.shield(probe):
            session = await self._opened()
        asking = asyncio.ensure_future(question(session.client))
        try:
            await asyncio.wait({asking, session.keeper}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise InfrastructureError(f"{self._name} broke off the connection.")
        except asyncio.CancelledError:
            self._doubt(session)
            raise
        except MCPError as error:
            # A proxy in front of a dead server, too, speaks of an internal error.
            if _broken(error.code) or (error.code == INTERNAL_ERROR and not await self._doubt(session)):
                self._drop(session)
                raise InfrastructureError(f"{self._name} failed: {error}.") from error
            raise
        finally:
            asking.cancel()

    async def _opened(self) -> _Session:
        if self._opening is not None and self._opening.done():
            failed = self._opening.cancelled() or self._opening.exception() is not None
            if failed or self._opening.result().keeper.done():
                self._opening = None
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        return await asyncio.shield(self._opening)  # others wait for it as well

    async def _open(self) -> _Session:
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()

        async def keep() -> None:
            """Enter and leave the session in one task, as its cancel scopes demand."""
            try:
                async with self._enter() as client:
                    ready.set_result(client)
                    await stop.wait()
            except Exception as error:  # noqa: BLE001 - told to who waits for the session, or by its end
                if not ready.done():
                    ready.set_exception(error)

        keeper = asyncio.ensure_future(keep())
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        try:
            async with asyncio.timeout(self._timeout):
                return _Session(await ready, keeper, stop)
        except TimeoutError as error:
            reason = f"it was not ready within {self._timeout:g} seconds"
            raise InfrastructureError(f"{self._name} cannot be reached: {reason}.") from error
        except Exception as error:
            raise InfrastructureError(f"{self._name} cannot be reached: {reasons(error)}.") from error
        finally:
            if not ready.done() or ready.cancelled() or ready.exception() is not None:
                keeper.cancel()
                await asyncio.wait({keeper})

    def _doubt(self, session: _Session) -> asyncio.Task[bool]:
        """See whether the server still answers, after a request that came to nothing; a hung one is given up."""
        if session.keeper not in self._probes:
            self._probes[session.keeper] = probe = asyncio.ensure_future(self._probe(session))
            probe.add_done_callback(lambda _: self._probes.pop(session.keeper))
        return self._probes[session.keeper]

    async def _probe(self, session: _Session) -> bool:
        try:
            async with asyncio.timeout(PROBE):
                await session.client.session.list_tools()
        except Exception:  # noqa: BLE001 - whatever it is, the server cannot even list its tools
            self._drop(session)
            return False
        return True

    def _drop(self, session: _Session) -> None:
        session.stop.set()
        if self._opening is not None and self._opening.done() and self._opening.result() is session:
            self._opening = None

    async def _end(self) -> None:
        """Leave the session, so that its server ends in good order; then cancel what still waits."""
        if self._opening is not None and self._opening.done() and not self._opening.exception():
            self._opening.result().stop.set()
        elif self._opening is not None:
            self._opening.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._opening = None


def _broken(code: int) -> bool:
    """Whether an error says that a request did not get through, rather than that it was refused."""
    from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT

    return code in (CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT)


def reasons(error: BaseException) -> str:
    """What an exception says; for a group of them, as the client's task groups raise, what each one in it says."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(reasons, error.exceptions))
    return str(error) or type(error).__name__
