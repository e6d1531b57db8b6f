"""What a worker process of `workers` runs: one class, many objects of it, one request at a time.

Started as a script and not as a module, so that a worker imports the standard library and the file of its class, and
nothing of this package: torch alone would cost every worker 300 MB and two seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

END_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


def main(descriptor: int, parent: int, file: str, name: str) -> None:
    """Serve requests until the other end of the socket is gone.

    Args:
        descriptor: of the inherited socket.
        parent: process number of who started this one.
        file: source file of the class.
        name: of the class in it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel was told
        return
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            target = _load(Path(file), name)
        except BaseException:  # noqa: BLE001 - whatever it is, whoever waits has to hear of it
            connection.send_bytes(_text({"error": traceback.format_exc()}))
            return
        connection.send_bytes(_text({"value": os.getpid()}))
        serve(connection, target)


def serve(connection: Connection, target: type) -> None:
    """Answer ``{"seat", "method", "arguments"}`` with ``{"value"}`` or ``{"error"}``, JSON both ways."""
    seats: dict[int, Any] = {}
    while True:
        request = json.loads(connection.recv_bytes())
        try:
            reply = {"value": _answer(seats, target, request["seat"], request["method"], request["arguments"])}
            message = _text(reply)
        except Exception:  # noqa: BLE001 - told to who asked; the other seats go on
            message = _text({"error": traceback.format_exc()})
        connection.send_bytes(message)


def _answer(seats: dict[int, Any], target: type, seat: int, method: str, arguments: Sequence[Any]) -> Any:
    if method == "__init__":
        seats[seat] = target(*arguments)
        return None
    if method == "__del__":
        close = getattr(seats.pop(seat, None), "close", None)  # one whose __init__ failed is not there
        return close() if close else None
    return getattr(seats[seat], method)(*arguments)


def _load(file: Path, name: str) -> type:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]


def _text(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply).encode()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
