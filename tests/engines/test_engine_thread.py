"""The engine thread with a small backend: who is told what, and when nothing goes on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from lightning_agentrl.engines.base import Completion, SamplingParams
from lightning_agentrl.engines.engine_thread import EngineThread

PARAMS = SamplingParams(max_tokens=1, temperature=1.0, stop_token_ids=())


class Echo:
    """Answers a prompt with itself after one step; token 0 never ends, 13 breaks the engine, 7 is refused."""

    def __init__(self) -> None:
        self.requests: dict[int, list[int]] = {}
        self.batches: list[int] = []
        self.aborted: list[int] = []
        self.closed = 0

    def add(self, request_id, token_ids, params):
        if 7 in token_ids:
            raise ValueError("seven")
        self.requests[request_id] = token_ids

    def abort(self, request_id):
        self.aborted.append(request_id)
        del self.requests[request_id]

    def step(self):
        time.sleep(0.01)
        self.batches.append(len(self.requests))
        if any(13 in ids for ids in self.requests.values()):
            raise ArithmeticError("thirteen")
        done = {number: ids for number, ids in self.requests.items() if 0 not in ids}
        for number in done:
            del self.requests[number]
        return [(number, Completion(tuple(ids), (0.0,) * len(ids), "length")) for number, ids in done.items()]

    def close(self):
        self.closed += 1


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def thread(echo):
    thread = EngineThread(lambda: echo, "echo")
    yield thread
    thread.close()


async def settle(*awaitables):
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), timeout=1)


def test_requests_of_many_tasks_share_a_step(thread, echo):
    async def many():
        return await settle(*[thread.submit([1, n], PARAMS) for n in range(20, 52)])

    assert [out.token_ids for out in asyncio.run(many())] == [(1, n) for n in range(20, 52)]
    assert max(echo.batches) > 1


def test_a_refused_request_fails_alone(thread):
    async def two():
        return await settle(thread.submit([7], PARAMS), thread.submit([1], PARAMS))

    refused, accepted = asyncio.run(two())
    assert isinstance(refused, ValueError)
    assert accepted.token_ids == (1,)


def test_a_dead_thread_fails_pending_and_later_requests_and_names_the_cause(thread):
    async def die():
        pending = await settle(thread.submit([0], PARAMS), thread.submit([13], PARAMS))
        later = await settle(thread.submit([1], PARAMS))
        return pending + later

    errors = asyncio.run(die())
    assert [str(error) for error in errors] == ["The echo engine stopped: ArithmeticError('thirteen')."] * 3
    assert all(isinstance(error.__cause__, ArithmeticError) for error in errors)


def test_a_dead_thread_fails_calls_and_frees_the_backend(thread, echo):
    asyncio.run(settle_one(thread, [13]))
    with pytest.raises(RuntimeError, match="thirteen"):
        thread.call(lambda backend: None)
    thread.close()
    assert echo.closed == 1


async def settle_one(thread, ids):
    return await settle(thread.submit(ids, PARAMS))


def test_cancelling_a_task_aborts_its_request(thread, echo):
    async def cancel():
        task = asyncio.ensure_future(thread.submit([0], PARAMS))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancel())
    assert thread.call(lambda backend: list(backend.requests)) == []
    assert echo.aborted == [0]


def test_an_error_while_building_is_raised_by_the_constructor():
    def build():
        raise KeyError("no such model")

    with pytest.raises(KeyError, match="no such model"):
        EngineThread(build, "echo")


def test_an_error_in_a_call_is_raised_to_the_caller_and_does_not_end_the_thread(thread):
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda backend: 1 / 0)
    assert thread.call(lambda backend: 1) == 1


def test_fed_items_arrive_in_order_on_the_engines_thread(thread):
    def consume(backend, items):
        return list(items), threading.current_thread()

    items, consumer = thread.feed(iter(range(5)), consume)
    assert items == [0, 1, 2, 3, 4]
    assert consumer is not threading.current_thread()


def test_a_consumer_that_fails_early_stops_the_feeding(thread):
    given = []

    def endless():
        while True:
            given.append(0)
            yield 0

    def consume(backend, items):
        next(items)
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        thread.feed(endless(), consume)
    assert len(given) < 5


def test_closing_fails_pending_requests(thread):
    async def close_early():
        task = asyncio.ensure_future(thread.submit([0], PARAMS))
        await asyncio.sleep(0.05)
        thread.close()
        return await settle(task)

    (error,) = asyncio.run(close_early())
    assert "is closed" in str(error)


def test_closing_twice_closes_the_backend_once(thread, echo):
    thread.close()
    thread.close()
    assert echo.closed == 1


def test_an_error_while_freeing_the_backend_is_raised_by_close(echo):
    def fail():
        raise OSError("still mapped")

    echo.close = fail
    thread = EngineThread(lambda: echo, "echo")
    with pytest.raises(OSError, match="still mapped"):
        thread.close()


def test_an_idle_thread_takes_no_steps(thread, echo):
    asyncio.run(settle_one(thread, [1]))
    steps = len(echo.batches)
    time.sleep(0.1)
    assert len(echo.batches) == steps
