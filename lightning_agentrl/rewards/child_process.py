"""A child process that answers requests line by line, and is killed when it takes too long."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

START_SECONDS = 120.0
"""How long a child may take until it is ready, on a busy machine."""
OUT_OF_TIME = (-signal.SIGPROF, -signal.SIGXCPU)
"""Exit statuses of a child that used up its CPU time."""

Reply = Mapping[str, Any]


class OutOfTimeError(Exception):
    """A request took too long; its child was killed."""


class DiedError(Exception):
    """A child ended without an answer."""


class Child:
    """A process, and lines of JSON to and from it. One thread at a time may ask; any may kill the process."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it, without waiting until it is ready."""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the trainer, which then closes its pools
        )
        self._ready = False

    def ask(self, request: Mapping[str, Any], seconds: float) -> Reply:
        """The reply to a request, within so many seconds from when the child is ready.

        Raises:
            OutOfTimeError: it took longer, on the clock or by its own measure. It is dead then.
            DiedError: it ended or wrote nonsense. It is dead then.
        """
        if not self._ready:
            greeting = self._exchange(None, START_SECONDS)
            if not greeting.get("ready"):
                raise DiedError(str(greeting.get("error")))
            self._ready = True
        return self._exchange(request, seconds)

    def end(self) -> None:
        """Kill it, if it lives, and leave nothing of it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # a last line that nobody reads any more
                if pipe is not None:
                    pipe.close()

    def _exchange(self, request: Mapping[str, Any] | None, seconds: float) -> Reply:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        killer = threading.Timer(seconds, self.process.kill)
        killer.daemon = True
        killer.start()
        try:
            if request is not None:
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):  # nobody reads any more, or nothing (or nonsense) was written
            self.process.kill()
            status = self.process.wait()
            if status in OUT_OF_TIME or time.monotonic() >= deadline:
                raise OutOfTimeError from None
            raise DiedError(f"exit status {status}") from None
        finally:
            killer.cancel()
        if not isinstance(reply, dict):
            raise DiedError(f"it wrote {reply!r}")
        return reply
