"""One worker process, spoken to by the thread that started it; see `workers`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from lightning_agentrl.environments import worker_main
from lightning_agentrl.tools.base import InfrastructureError

LAST_WORDS = 2000
"""Characters of a worker's output that an error repeats."""


@dataclass(frozen=True)
class Program:
    """What a worker process is to run."""

    file: str
    """Source file of the class."""
    name: str
    """Of the class in it."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables to set besides the present ones."""


class WorkerLost(InfrastructureError):
    """The process died or was killed, and everything that it held with it."""


class WorkerProcess:
    """A fresh interpreter that holds objects of one class. Only `kill` may be called from another thread."""

    def __init__(self, program: Program) -> None:
        """Start the process; `ready` waits until it can be asked."""
        self._program = program
        # The class may print, and so may C code below it: kept for errors, and apart from the socket.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `bury`
        ours, theirs = socket.socketpair()
        with theirs:
            # With -P the folder of the script stays off the path; a session of its own keeps Ctrl-C away from it.
            arguments = [str(theirs.fileno()), str(os.getpid()), program.file, program.name]
            self._process = subprocess.Popen(
                [sys.executable, "-P", worker_main.__file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **program.environ},
            )
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def ready(self, deadline: float) -> None:
        """Wait until the class is loaded.

        Raises:
            RuntimeError: when it cannot be, with the reason.
            WorkerLost: when the process died, or took longer than ``deadline`` seconds.
        """
        reply = self._reply(f"starting {self._program.name}", deadline)
        if "error" in reply:
            raise RuntimeError(f"Workers cannot load {self._program.name}:\n{reply['error']}")

    def ask(self, seat: int, method: str, arguments: Sequence[Any], deadline: float) -> Any:
        """Call a method of a seat's object and wait for its value.

        Raises:
            WorkerLost: when the process died, or took longer than ``deadline`` seconds.
            InfrastructureError: when the method raised; the process goes on.
        """
        what = f"{self._program.name}.{method}"
        try:
            self._connection.send_bytes(json.dumps({"seat": seat, "method": method, "arguments": arguments}).encode())
        except OSError:
            raise self._lost(what, "was gone") from None
        reply = self._reply(what, deadline)
        if "error" in reply:
            raise InfrastructureError(f"{what} raised in its worker:\n{reply['error']}")
        return reply["value"]

    def kill(self) -> None:
        """End the process at once; whoever waits for a reply hears of it."""
        self._process.kill()

    def bury(self) -> None:
        """Make sure that the process is gone, and free what it took."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._output.close()

    def _reply(self, what: str, deadline: float) -> dict[str, Any]:
        try:
            if not self._connection.poll(deadline):
                raise self._lost(what, f"did not answer within {deadline:g} s and was killed")
            return json.loads(self._connection.recv_bytes())  # type: ignore[no-any-return]
        except (EOFError, OSError):
            raise self._lost(what, "died") from None

    def _lost(self, what: str, how: str) -> WorkerLost:
        self._process.kill()
        code = self._process.wait()
        with contextlib.suppress(OSError):
            self._output.seek(0)
            said = self._output.read().decode(errors="replace").strip()[-LAST_WORDS:]
        return WorkerLost(
            f"A worker {how} during {what} (exit code {code}).{said and f' It had printed:{chr(10)}{said}'}"
        )
