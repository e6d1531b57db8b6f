"""The sandbox that tools use: a few threads, each with a template of its own, take programs from one queue."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from lightning_agentrl.tools.sandbox.files import checked
from lightning_agentrl.tools.sandbox.layers import Layers, probe
from lightning_agentrl.tools.sandbox.settings import Execution, SandboxSettings
from lightning_agentrl.tools.sandbox.view import search_folders
from lightning_agentrl.tools.sandbox.worker import Worker
from lightning_agentrl.types.errors import InfrastructureError

ATTEMPTS = 2
"""How often a program is tried when the machinery fails under it."""


class Sandbox:
    """Runs programs that nobody trusts. Starts its processes at the first call, and again after `close`.

    Serves any number of event loops and threads. A program whose caller gave up is not begun any more, or runs on for
    its own time limit at most. SECURITY.md says what it contains and what it does not.
    """

    def __init__(self, settings: SandboxSettings | None = None, layers: Layers | None = None) -> None:
        """Check that this machine can contain a program.

        Args:
            settings: what programs may use.
            layers: layers of isolation to use; None for all that this machine has.

        Raises:
            SandboxUnavailable: when too few layers work here and ``unsafe_no_isolation`` is not set.
            ValueError: for a module to preload that is not installed.
        """
        self.settings = settings or SandboxSettings()
        self._search = search_folders(self.settings.preload)
        self._layers = layers or probe(self.settings.folder_bytes)
        self._layers.require(unsafe=self.settings.unsafe_no_isolation)
        self._lock = threading.Lock()
        self._crew: _Crew | None = None

    async def run(self, code: str, files: Mapping[str, str] | None = None) -> Execution:
        """Run a program, when it is its turn.

        Args:
            code: Python source, as the policy wrote it.
            files: text by relative path, written to the program's folder before; needs ``writable``.

        Raises:
            InfrastructureError: when the machinery failed twice; whatever the *program* does is an `Execution`.
            ValueError: for files that cannot be written to its folder.
        """
        return await asyncio.wrap_future(self.submit(code, files))

    def submit(self, code: str, files: Mapping[str, str] | None = None) -> Future[Execution]:
        """The same for callers without an event loop."""
        job = _Job(code, checked(files or {}, self.settings.folder_bytes))
        with self._lock:
            if self._crew is None or self._crew.owner != os.getpid():  # a fork inherits no threads
                self._crew = _Crew(self.settings, self._layers, self._search)
                weakref.finalize(self, self._crew.close)  # also when the interpreter exits
            self._crew.jobs.put(job)
        return job.future

    def close(self) -> None:
        """End all processes; calls in progress fail. Does nothing when there are none."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()


@dataclass
class _Job:
    code: str
    files: Mapping[str, str]
    future: Future[Execution] = field(default_factory=Future)


class _Crew:
    """Threads at work. Knows nothing of the sandbox that it serves, so that a sandbox can be collected and end it."""

    def __init__(self, settings: SandboxSettings, layers: Layers, search: tuple[str, ...]) -> None:
        self.owner = os.getpid()
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._settings, self._layers, self._search = settings, layers, search
        self._closed = threading.Event()
        self._workers: dict[int, Worker] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), name=f"agentrl-sandbox-{slot}", daemon=True)
            for slot in range(settings.slots)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End threads and processes; in a forked copy of the trainer, leave its parent's alone."""
        if self.owner != os.getpid() or self._closed.is_set():
            return
        self._closed.set()
        for _ in self._threads:
            self.jobs.put(None)
        for worker in list(self._workers.values()):
            worker.kill()
        for thread in self._threads:
            if thread is not threading.current_thread():  # the garbage collector runs anywhere
                thread.join()

    def _serve(self, slot: int) -> None:
        """One slot's life."""
        calls = 0
        while (job := self.jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                result = self._attempt(slot, job)
            except BaseException as error:  # noqa: BLE001 - handed to who awaits it
                job.future.set_exception(error)
                continue
            job.future.set_result(result)
            calls += 1
            if calls % self._settings.recycle_after == 0:
                self._dismiss(slot)
        self._dismiss(slot)

    def _attempt(self, slot: int, job: _Job) -> Execution:
        failures = []
        for _ in range(ATTEMPTS):
            try:
                if slot not in self._workers and not self._closed.is_set():
                    self._workers[slot] = Worker(self._settings, self._layers, self._search)
                if self._closed.is_set():  # perhaps while it started
                    raise InfrastructureError("it was closed")
                return self._workers[slot].call(job.code, job.files)
            except (InfrastructureError, OSError) as error:
                failures.append(str(error))
                self._dismiss(slot)
        raise InfrastructureError(f"The sandbox failed {ATTEMPTS} times: {' / '.join(failures)}")

    def _dismiss(self, slot: int) -> None:
        worker = self._workers.pop(slot, None)
        if worker is not None:
            worker.stop()
