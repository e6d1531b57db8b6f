"""A pool of worker processes for blocking, stateful or crash-prone code; none of them outlives the program.

    pool = WorkerPool(Player, Workers(processes=2))
    seat = pool.open("game.z8")              # constructs Player("game.z8") in the least busy worker
    text = await seat.call("step", "look")   # runs its method step there; arguments and value are JSON
    seat.close()
    pool.close()

A worker is a fresh interpreter and never a fork, which would copy the state of torch and vLLM. It answers one request
at a time. A request that kills its worker or misses its deadline costs all seats of that worker: their calls raise
`InfrastructureError`, and the next `open` starts another process. Each process is started, spoken to and buried by a
thread of its own, so that a pool serves any event loop, and callers without one.

Nothing is left behind: on Linux the kernel kills a worker together with the thread that started it, however the program
ends; elsewhere a worker ends when its socket does, after the request that it is at.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from lightning_agentrl.environments.worker_process import Program, WorkerLost, WorkerProcess
from lightning_agentrl.tools.base import InfrastructureError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """How many processes, and how long they may take."""

    processes: int = 2
    """Number of worker processes, at least 1; each holds many seats and answers one request at a time."""
    deadline: float = 30.0
    """Seconds for one request, from when its worker takes it up; a worker that needs longer is killed and replaced."""
    start_deadline: float = 120.0
    """Seconds for a worker to start, imports included."""

    def __post_init__(self) -> None:
        if self.processes < 1 or min(self.deadline, self.start_deadline) <= 0:
            raise ValueError(f"Workers need at least one process and positive deadlines, got {self}.")


class WorkerPool:
    """Objects of one class, spread over worker processes that the first `open` starts."""

    def __init__(self, target: type, settings: Workers = Workers(), environ: Mapping[str, str] | None = None) -> None:
        """Describe a pool; nothing is started.

        Args:
            target: class at the top of its module. Workers load that file by its path and alone, so it must not
                import from this package. Arguments and results of its methods are JSON; ``close`` is optional.
            settings: how many processes, and how long they may take.
            environ: variables to set in the workers besides the present ones.
        """
        self._program = Program(inspect.getfile(target), target.__name__, environ or {})
        self._settings = settings
        self._keepers: list[_Keeper] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def open(self, *arguments: Any) -> Seat:
        """Construct an object in the worker with the fewest seats. A failure shows in the first call."""
        with self._lock:
            if not self._keepers:
                self._keepers = [_Keeper(self._program, self._settings) for _ in range(self._settings.processes)]
            keeper = min(self._keepers, key=lambda keeper: keeper.seats)
            keeper.seats += 1
            return Seat(keeper, next(self._numbers), arguments, self._lock)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that run."""
        with self._lock:
            running = [keeper.process for keeper in self._keepers]
        return [process.pid for process in running if process is not None]

    def close(self) -> None:
        """Kill all workers and wait until they are gone; may be called twice, and `open` starts new ones."""
        with self._lock:
            keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.end()
        for keeper in keepers:
            keeper.thread.join()


class Seat:
    """One object in a worker."""

    def __init__(self, keeper: _Keeper, number: int, arguments: tuple[Any, ...], lock: threading.Lock) -> None:
        self._keeper = keeper
        self._number = number
        self._lock = lock
        self._closed = False
        self._opening = keeper.submit(_Request(number, "__init__", arguments))

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """Queue a call of a method; calls of a seat are answered in order.

        The future raises `InfrastructureError` when the worker died or took too long, now or since the seat was
        opened, and when the method itself raised; `RuntimeError` when the pool's class cannot be loaded at all.
        """
        return self._keeper.submit(_Request(self._number, method, arguments, self._opening))

    async def call(self, method: str, *arguments: Any) -> Any:
        """Await a call of a method; see `submit`."""
        return await asyncio.wrap_future(self.submit(method, *arguments))

    def close(self) -> None:
        """Let go of the object, without waiting for it; may be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._keeper.seats -= 1
        self.submit("__del__")


@dataclass(frozen=True)
class _Request:
    seat: int
    method: str
    arguments: tuple[Any, ...]
    opening: Future[Any] | None = None
    """Of the seat; None where this is it. It came before this request, and so it is done."""
    future: Future[Any] = field(default_factory=Future)


class _Keeper:
    """A thread that looks after one worker process, and after another one when that is lost."""

    def __init__(self, program: Program, settings: Workers) -> None:
        self.seats = 0
        self.process: WorkerProcess | None = None
        self._program = program
        self._settings = settings
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = False
        self._life = 0  # number of the process; seats of an earlier one are lost
        self.thread = threading.Thread(target=self._work, name="agentrl-worker", daemon=True)
        self.thread.start()

    def submit(self, request: _Request) -> Future[Any]:
        """Queue a request."""
        with self._lock:
            if self._over:  # nobody would take it up any more
                request.future.set_exception(_closed())
            else:
                self._requests.put(request)
        return request.future

    def end(self) -> None:
        """Fail what runs or waits, and end the thread."""
        with self._lock:
            self._over = True
            self._requests.put(None)
        if (process := self.process) is not None:
            process.kill()

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            if not request.future.set_running_or_notify_cancel():
                continue
            try:
                request.future.set_result(self._answer(request))
            except Exception as error:  # noqa: BLE001 - handed to who awaits it
                if isinstance(error, WorkerLost):
                    self._drop()
                    if not self._over:
                        log.warning("%s", error)
                request.future.set_exception(error)
        self._drop()

    def _answer(self, request: _Request) -> Any:
        """The value of a call; for an opening, the life of the worker that it was in."""
        if request.opening is not None and request.opening.result() != self._life:
            raise InfrastructureError("The worker of this seat was lost, and what it held with it.")
        if self._over:
            raise _closed()
        if self.process is None:
            self._start()
        assert self.process is not None
        value = self.process.ask(request.seat, request.method, request.arguments, self._settings.deadline)
        return self._life if request.opening is None else value

    def _start(self) -> None:
        self.process = WorkerProcess(self._program)
        if self._over:  # `end` came before there was something to kill
            self.process.kill()
        try:
            self.process.ready(self._settings.start_deadline)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            self._life += 1
            process.bury()


def _closed() -> InfrastructureError:
    return InfrastructureError("The pool of workers was closed.")
