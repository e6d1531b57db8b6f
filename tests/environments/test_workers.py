"""Worker pools: what they answer, what a failure costs, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_targets import Counter, Ledger

import lightning_agentrl
from lightning_agentrl.environments.workers import Seat, WorkerPool, Workers
from lightning_agentrl.tools.base import InfrastructureError

HOST = """
import os, signal, sys, types
package = sys.modules["lightning_agentrl"] = types.ModuleType("lightning_agentrl")
package.__path__ = [{package!r}]  # without its __init__, which imports torch
sys.path.insert(0, {folder!r})
from worker_targets import Counter
from lightning_agentrl.environments.workers import WorkerPool
pool = WorkerPool(Counter)
busy, idle = pool.open(), pool.open()
idle.submit("pid").result(), busy.submit("pid").result()
hang = busy.submit("hangs")
print(*pool.pids, flush=True)
{end}
"""
ENDS = {
    "a normal end": "",
    "an exception": "raise RuntimeError",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "sys.exit with the pool closed": "pool.close(); sys.exit()",
}


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(Counter, Workers(processes=2))
    yield pool
    pool.close()


def pid(seat: Seat) -> int:
    number = seat.submit("pid").result()
    assert isinstance(number, int)
    return number


def runs(process: int) -> bool:
    """Whether a process is there and does something: an orphan that nobody waited for yet does nothing."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return re.search(r"State:\s+[ZX]", status) is None


def gone(processes: list[int], within: float = 20.0) -> bool:
    """Whether all of them end in time."""
    deadline = time.monotonic() + within
    while any(map(runs, processes)):
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def test_each_seat_holds_an_object_of_its_own(pool: WorkerPool) -> None:
    seats = [pool.open(10 * number) for number in range(4)]
    assert [seat.submit("add", number).result() for number, seat in enumerate(seats)] == [0, 11, 22, 33]


def test_calls_of_a_seat_are_answered_in_order_on_any_event_loop(pool: WorkerPool) -> None:
    seat = pool.open()

    async def count() -> list[int]:
        return await asyncio.gather(*(seat.call("add") for _ in range(5)))

    assert asyncio.run(count()) + asyncio.run(count()) == list(range(1, 11))


def test_seats_go_to_the_worker_with_the_fewest(pool: WorkerPool) -> None:
    first, second, third = (pool.open() for _ in range(3))
    assert pid(first) != pid(second)
    first.close()
    third.close()
    assert pid(pool.open()) != pid(second)


def test_nothing_is_started_before_the_first_seat() -> None:
    pool = WorkerPool(Counter)
    assert pool.pids == []
    pool.close()


def test_a_worker_loads_nothing_of_this_package(pool: WorkerPool) -> None:
    loaded = {name.partition(".")[0] for name in pool.open().submit("modules").result()}
    assert not loaded & {"lightning_agentrl", "torch", "numpy"}


def test_a_worker_may_print_without_end(pool: WorkerPool) -> None:
    seat = pool.open()
    for _ in range(3):
        seat.submit("prints").result(timeout=20)
    assert seat.submit("add").result() == 1


def test_variables_are_set_in_workers_only() -> None:
    pool = WorkerPool(Counter, Workers(1), {"AGENTRL_TEST_VARIABLE": "there"})
    assert pool.open().submit("environ", "AGENTRL_TEST_VARIABLE").result() == "there"
    assert "AGENTRL_TEST_VARIABLE" not in os.environ
    pool.close()


def test_closing_a_seat_closes_its_object(tmp_path: Path) -> None:
    pool = WorkerPool(Ledger, Workers(1))
    seat, other = (pool.open(str(tmp_path / "ledger")) for _ in range(2))
    seat.close()
    seat.close()
    other.submit("wait").result()
    assert (tmp_path / "ledger").read_text() == "closed\n"
    pool.close()


# --- failures -------------------------------------------------------------------------------------------------------


def test_what_a_method_raises_reaches_the_caller_and_the_seat_goes_on(pool: WorkerPool) -> None:
    seat = pool.open()
    with pytest.raises(InfrastructureError, match="no such key"):
        seat.submit("raises").result()
    assert seat.submit("add").result() == 1


def test_a_failure_to_open_shows_in_every_call_of_the_seat(pool: WorkerPool) -> None:
    seat = pool.open(-1)
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="below zero"):
            seat.submit("add").result()


def test_a_worker_that_dies_costs_its_seats_and_no_others(pool: WorkerPool) -> None:
    doomed, spared, neighbour = pool.open(), pool.open(), pool.open()
    assert pid(doomed) == pid(neighbour) != pid(spared)
    with pytest.raises(InfrastructureError, match=r"(?s)died during Counter.dies \(exit code -9\).*Last words"):
        doomed.submit("dies").result()
    for lost in (doomed, neighbour):
        with pytest.raises(InfrastructureError, match="lost"):
            lost.submit("add").result()
    assert spared.submit("add").result() == 1


def test_a_worker_that_died_is_replaced(pool: WorkerPool) -> None:
    doomed, spared = pool.open(), pool.open()
    before = pid(doomed)
    with pytest.raises(InfrastructureError):
        doomed.submit("dies").result()
    doomed.close()
    after = pid(pool.open())
    assert after not in (before, pid(spared))


def test_a_worker_that_was_killed_while_idle_is_noticed_at_the_next_call(pool: WorkerPool) -> None:
    seat = pool.open()
    os.kill(pid(seat), signal.SIGKILL)
    with pytest.raises(InfrastructureError):
        seat.submit("add").result()
    assert pool.open().submit("add").result() == 1


def test_a_worker_that_hangs_is_killed_at_its_deadline() -> None:
    pool = WorkerPool(Counter, Workers(1, deadline=0.5))
    seat = pool.open()
    process = pid(seat)
    with pytest.raises(InfrastructureError, match=r"did not answer within 0.5 s"):
        seat.submit("hangs").result(timeout=30)
    assert not runs(process)
    assert pool.open().submit("add").result() == 1
    pool.close()


def test_time_in_the_queue_does_not_count_against_the_deadline() -> None:
    pool = WorkerPool(Counter, Workers(1, deadline=2.0))
    seat = pool.open()
    calls = [seat.submit("works", 0.3) for _ in range(8)]  # the last one waits for 2.1 s
    assert [call.result() for call in calls] == [0.3] * 8
    pool.close()


def test_a_class_that_cannot_be_loaded_is_no_matter_of_luck(tmp_path: Path) -> None:
    (tmp_path / "broken_target.py").write_text("class Broken:\n    pass\n")
    sys.path.insert(0, str(tmp_path))
    try:
        from broken_target import Broken  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    (tmp_path / "broken_target.py").write_text("import no_such_module\n")
    pool = WorkerPool(Broken, Workers(1))
    with pytest.raises(RuntimeError, match="no_such_module") as caught:
        pool.open().submit("anything").result()
    assert not isinstance(caught.value, InfrastructureError)
    assert pool.pids == []
    pool.close()


def test_a_call_that_was_cancelled_leaves_its_worker_usable(pool: WorkerPool) -> None:
    seat = pool.open()

    async def cancel() -> None:
        call = asyncio.ensure_future(seat.call("add"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(cancel())
    assert seat.submit("add").result() in (1, 2)  # whether it had begun


# --- the end --------------------------------------------------------------------------------------------------------


def test_closing_twice_ends_all_workers_and_waits_for_them(pool: WorkerPool) -> None:
    processes = [pid(pool.open()) for _ in range(2)]
    pool.close()
    pool.close()
    assert [Path(f"/proc/{process}").exists() for process in processes] == [False, False]  # no zombie either


def test_a_pool_that_was_closed_can_be_opened_again(pool: WorkerPool) -> None:
    old = pool.open()
    old.submit("add").result()
    pool.close()
    assert pool.open(5).submit("add").result() == 6
    with pytest.raises(InfrastructureError, match="closed"):
        old.submit("add").result()


def test_closing_fails_what_runs_and_what_waits() -> None:
    pool = WorkerPool(Counter, Workers(1))
    seat = pool.open()
    pid(seat)
    running, waiting = seat.submit("hangs"), seat.submit("add")
    pool.close()
    for future in (running, waiting):
        assert isinstance(future.exception(timeout=0), InfrastructureError)


def test_threads_and_descriptors_are_given_back() -> None:
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        pool = WorkerPool(Counter)
        [seat.submit("add").result() for seat in [pool.open(), pool.open()]]
        pool.close()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a busy process with its parent")
@pytest.mark.parametrize("end", ENDS)
def test_no_worker_outlives_the_program(end: str) -> None:
    """One is idle, the other one hangs, when the program ends."""
    package = str(Path(lightning_agentrl.__file__).parent)
    source = HOST.format(package=package, folder=str(Path(__file__).parent), end=ENDS[end])
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    processes = [int(number) for number in done.stdout.split()]
    assert len(processes) == 2, done.stderr
    assert gone(processes)


def test_a_worker_ends_with_the_socket_where_the_kernel_does_not_end_it() -> None:
    """As on systems without a signal at the parent's death."""
    pool = WorkerPool(Counter, Workers(1))
    seat = pool.open()
    process = pid(seat)
    keeper = seat._keeper
    assert keeper.process is not None
    keeper.process._connection.close()
    assert gone([process])
    pool.close()


@pytest.mark.parametrize("wrong", [{"processes": 0}, {"deadline": 0.0}, {"start_deadline": -1.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one process"):
        Workers(**wrong)  # type: ignore[arg-type]
