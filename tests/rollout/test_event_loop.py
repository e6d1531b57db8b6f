"""The loop thread."""

import asyncio
import threading

import pytest

from lightning_agentrl.rollout.event_loop import EventLoopThread


def test_a_coroutine_runs_while_the_caller_has_a_loop_of_its_own() -> None:
    thread = EventLoopThread()

    async def inner() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def notebook() -> str:
        return thread.run(inner())

    assert asyncio.run(notebook()) == "agentrl-rollouts"
    thread.close()


def test_errors_come_back_to_the_caller() -> None:
    thread = EventLoopThread()

    async def broken() -> None:
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        thread.run(broken())
    thread.close()


def test_closing_ends_the_thread_and_a_later_run_starts_it_again() -> None:
    thread = EventLoopThread()
    before = threading.active_count()
    thread.run(asyncio.sleep(0))
    thread.close()
    thread.close()
    assert threading.active_count() == before
    thread.run(asyncio.sleep(0))
    thread.close()
