"""Runs blocking functions beside the event loop, in threads that never hold up the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any


async def in_thread(function: Callable[[], Any]) -> Any:
    """Await a blocking function.

    A thread of its own per call: the default executor has a handful of workers, behind which the slow tools of many
    trajectories would queue, and the interpreter waits for its threads at exit, for ever if a tool hangs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except Exception as raised:  # noqa: BLE001 - handed to who awaits it
            error = raised
        except BaseException as raised:  # noqa: BLE001 - sys.exit in a tool must end the call, not a future
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="agentrl-tool", daemon=True).start()
    return await future
