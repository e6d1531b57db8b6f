"""Child processes behind one queue: they are started when needed, killed when they hang, and replaced when they die."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from lightning_agentrl.rewards.child_process import Child, DiedError, OutOfTimeError, Reply
from lightning_agentrl.types import InfrastructureError

Job = tuple[Mapping[str, Any], "Future[Reply]"]


class CrashedError(Exception):
    """A request kills each child that it meets, while others are answered."""


class ChildPool:
    """A few children behind one queue, each started on its first request, by a thread that then waits for it.

    Usable from any thread and any event loop, at the same time.
    """

    def __init__(
        self, command: Callable[[], Sequence[str]], size: int, seconds: float, harmless: Mapping[str, Any]
    ) -> None:
        """Start nothing yet.

        Args:
            command: makes the command line of a child. It is to write one JSON line with ``ready: true`` when it is,
                then one for each that it reads.
            size: number of children.
            seconds: on the clock, per request; the last resort, for a child should bound its own CPU time.
            harmless: a request that every child in good health answers.
        """
        self._command = command
        self._size = size
        self._seconds = seconds
        self._harmless = harmless
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._keepers: list[_Keeper] = []

    def submit(self, request: Mapping[str, Any]) -> Future[Reply]:
        """The answer to come, or `OutOfTimeError`, `CrashedError`, or an `InfrastructureError`."""
        future: Future[Reply] = Future()
        with self._lock:
            if not self._keepers:
                self._jobs = SimpleQueue()
                self._keepers = [
                    _Keeper(self._jobs, self._command, self._seconds, self._harmless) for _ in range(self._size)
                ]
                for keeper in self._keepers:
                    keeper.start()
            self._jobs.put((request, future))
        return future

    def close(self) -> None:
        """Kill the children and wait for their threads; requests under way fail. A later one starts anew."""
        with self._lock:
            keepers, self._keepers = self._keepers, []
            for keeper in keepers:
                keeper.stop()
            for _ in keepers:
                self._jobs.put(None)
        for keeper in keepers:
            keeper.join()


class _Keeper(threading.Thread):
    """Owns one child at a time. A daemon: a run that dies without closing its pool must be able to end.

    The child is started and waited for by the same thread, because Linux counts the end of the thread that started a
    process as the death of its parent.
    """

    def __init__(
        self,
        jobs: SimpleQueue[Job | None],
        command: Callable[[], Sequence[str]],
        seconds: float,
        harmless: Mapping[str, Any],
    ) -> None:
        super().__init__(name="agentrl-child", daemon=True)
        self._jobs = jobs
        self._command = command
        self._seconds = seconds
        self._harmless = harmless
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._stopped = False

    def run(self) -> None:
        """Answer jobs until told that there are no more."""
        while (job := self._jobs.get()) is not None:
            request, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._answer(request))
            except Exception as error:  # noqa: BLE001 - handed to who awaits it
                future.set_exception(error)
        self._drop()

    def stop(self) -> None:
        """Start no further child, and kill the one there is."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.process.kill()

    def _answer(self, request: Mapping[str, Any]) -> Reply:
        """Ask; where the child dies, once more; where that one dies too, find out whose fault it is."""
        with contextlib.suppress(DiedError):
            return self._ask(request)
        with contextlib.suppress(DiedError):
            return self._ask(request)
        try:
            self._ask(self._harmless)
        except (DiedError, OutOfTimeError) as error:
            raise InfrastructureError(f"A child process of ours keeps dying: {error}.") from error
        raise CrashedError

    def _ask(self, request: Mapping[str, Any]) -> Reply:
        child = self._running()
        try:
            return child.ask(request, self._seconds)
        except (DiedError, OutOfTimeError):
            self._drop()
            raise

    def _running(self) -> Child:
        with self._lock:
            if self._stopped:
                raise InfrastructureError("The pool of child processes was closed.")
            if self._child is None:
                try:
                    self._child = Child(self._command())
                except OSError as error:
                    raise InfrastructureError(f"A child process could not be started: {error}.") from error
            return self._child

    def _drop(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()
