"""One thread that owns a generation backend; asyncio tasks and the trainer talk to it through an inbox."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lightning_agentrl.engines.base import Completion, SamplingParams

T = TypeVar("T")
R = TypeVar("R")


class Backend(Protocol):
    """What runs on the thread. None of its methods is ever called from two threads."""

    def add(self, request_id: int, token_ids: list[int], params: SamplingParams) -> None:
        """Take a request; an exception fails that request alone."""

    def abort(self, request_id: int) -> None:
        """Forget a request that was added and has not finished."""

    def step(self) -> list[tuple[int, Completion]]:
        """Sample about one token for every request; return those that finished. An exception ends the thread."""

    def close(self) -> None:
        """Free everything."""


B = TypeVar("B", bound=Backend)


@dataclass(frozen=True)
class _Command(Generic[B]):
    """Something to do on the thread, and whom to tell if it can no longer be done."""

    run: Callable[[B], None]
    fail: Callable[[BaseException], None]


@dataclass(frozen=True)
class _Waiter:
    """An asyncio task that waits for a completion, reachable from another thread."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Completion]

    def resolve(self, completion: Completion) -> None:
        self._hand_over(self.future.set_result, completion)

    def reject(self, error: BaseException) -> None:
        self._hand_over(self.future.set_exception, error)

    def _hand_over(self, setter: Callable[[Any], None], value: Any) -> None:
        def settle() -> None:
            if not self.future.done():  # a cancelled task no longer cares
                setter(value)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(settle)


class EngineThread(Generic[B]):
    """Builds a backend on a thread of its own and runs it until `close`.

    Requests are stepped together, so what many asyncio tasks ask for at once is one batch. When the thread dies, every
    pending and every later request raises a RuntimeError that names the cause; nothing waits for ever.

    Args:
        build: Makes the backend; called on the thread. What it raises, the constructor raises.
        name: How error messages call the engine.
    """

    def __init__(self, build: Callable[[], B], name: str) -> None:
        self._name = name
        self._inbox: queue.SimpleQueue[_Command[B] | None] = queue.SimpleQueue()
        self._waiters: dict[int, _Waiter] = {}
        self._numbers = itertools.count()
        self._gate = threading.Lock()
        self._ended: str | None = None
        self._cause: BaseException | None = None
        self._not_freed: Exception | None = None
        built: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(build, built), name=f"{name} engine", daemon=True)
        self._thread.start()
        try:
            built.result()
        except BaseException:
            self._thread.join()
            raise
        atexit.register(self.close)  # a daemon thread that still runs C++ code when Python ends aborts the process

    async def submit(self, token_ids: list[int], params: SamplingParams) -> Completion:
        """Wait for a completion; cancelling the waiting task aborts the request."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop, loop.create_future())
        number = next(self._numbers)

        def add(backend: B) -> None:
            try:
                backend.add(number, token_ids, params)
            except Exception as error:  # noqa: BLE001 - a bad request must not end the other ones
                waiter.reject(error)
            else:
                self._waiters[number] = waiter

        def abort(backend: B) -> None:
            if self._waiters.pop(number, None) is not None:
                backend.abort(number)

        self._post(_Command(add, waiter.reject))
        try:
            return await waiter.future
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # a thread that has ended has nothing to abort
                self._post(_Command(abort, lambda error: None))
            raise

    def call(self, function: Callable[[B], R]) -> R:
        """Run ``function(backend)`` on the thread, between two steps, and return what it returns. Blocks."""
        return self._send(function).result()

    def feed(self, items: Iterable[T], consume: Callable[[B, Iterator[T]], R]) -> R:
        """Run ``consume(backend, iterator)`` on the thread while ``items`` is iterated on the caller's thread.

        Gathering sharded weights is collective and belongs to the trainer's thread; one item at a time is in flight.

        Raises:
            RuntimeError: If requests are in flight.
        """
        handover: queue.Queue[Callable[[], T] | None] = queue.Queue(maxsize=1)

        def arriving() -> Iterator[T]:
            while (item := handover.get()) is not None:
                yield item()

        def guarded(backend: B) -> R:
            if self._waiters:
                raise RuntimeError(f"Weights cannot change while {len(self._waiters)} requests are being generated.")
            return consume(backend, arriving())

        done = self._send(guarded)

        def put(item: Callable[[], T] | None) -> bool:
            while not done.done():
                with contextlib.suppress(queue.Full):
                    handover.put(item, timeout=0.1)
                    return True
            return False

        try:
            for item in items:
                if not put(lambda item=item: item):  # type: ignore[misc]
                    break
        except BaseException as error:
            put(lambda error=error: _raise(error))  # type: ignore[misc]
            with contextlib.suppress(Exception):
                done.result()
            raise
        put(None)
        return done.result()

    def close(self) -> None:
        """End the thread and free the backend. Pending requests raise. May be called twice.

        Raises:
            Exception: What freeing the backend raised, once, and not after a crash: its cause is told already.
        """
        self._inbox.put(None)
        self._thread.join()
        atexit.unregister(self.close)
        error, self._not_freed = self._not_freed, None
        if error is not None and self._cause is None:
            raise error

    def _send(self, function: Callable[[B], R]) -> Future[R]:
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"The {self._name} engine cannot wait for itself.")
        done: Future[R] = Future()

        def run(backend: B) -> None:
            try:
                done.set_result(function(backend))
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                done.set_exception(error)

        self._post(_Command(run, done.set_exception))
        return done

    def _post(self, command: _Command[B]) -> None:
        with self._gate:
            if self._ended is not None:
                raise self._error()
            self._inbox.put(command)

    def _run(self, build: Callable[[], B], built: Future[None]) -> None:
        try:
            backend = build()
        except BaseException as error:  # noqa: BLE001 - raised again by the constructor
            self._end("could not be started", error)
            built.set_exception(error)
            return
        built.set_result(None)
        reason, cause = "is closed; call start first", None
        try:
            while self._drain(backend):
                for number, completion in backend.step() if self._waiters else ():
                    self._waiters.pop(number).resolve(completion)
        except BaseException as error:  # noqa: BLE001 - the thread ends here and must tell everyone who waits
            reason, cause = f"stopped: {error!r}", error
        finally:
            self._end(reason, cause)
            try:
                backend.close()
            except Exception as error:  # noqa: BLE001 - raised again by close
                self._not_freed = error

    def _drain(self, backend: B) -> bool:
        """Run the commands that are there, waiting for one only if nothing is generated. False: time to end."""
        block = not self._waiters
        with contextlib.suppress(queue.Empty):
            while True:
                command = self._inbox.get(block=block)
                if command is None:
                    return False
                command.run(backend)
                block = not self._waiters
        return True

    def _end(self, reason: str, cause: BaseException | None) -> None:
        with self._gate:
            self._ended, self._cause = reason, cause
        for waiter in self._waiters.values():
            waiter.reject(self._error())
        self._waiters.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                command = self._inbox.get(block=False)
                if command is not None:
                    command.fail(self._error())

    def _error(self) -> RuntimeError:
        error = RuntimeError(f"The {self._name} engine {self._ended}.")
        error.__cause__ = self._cause
        return error


def _raise(error: BaseException) -> Any:
    raise error
