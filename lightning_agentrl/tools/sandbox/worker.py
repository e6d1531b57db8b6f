"""The host's side of one template process: starts it, hands it programs, reads what they print, stops it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_agentrl.tools.sandbox.inside import folder
from lightning_agentrl.tools.sandbox.inside.plan import EXIT_MEMORY, RUN, STOP, Plan
from lightning_agentrl.tools.sandbox.inside.template import SETUP_SECONDS
from lightning_agentrl.tools.sandbox.layers import Layers
from lightning_agentrl.tools.sandbox.settings import Execution, SandboxSettings, Status
from lightning_agentrl.tools.sandbox.view import FOLDER, HARNESS, INSIDE, START, command, libraries
from lightning_agentrl.types.errors import InfrastructureError

START_SECONDS = 120.0
"""Until a template must have imported its modules."""
GRACE_SECONDS = SETUP_SECONDS + 10.0
"""What a call may take beyond the program's own time before the template counts as hung."""
STOP_SECONDS = 5.0
"""Until a template that was asked to end is killed."""
CHUNK = 1 << 16
SIGNALS = {number.value: number.name for number in signal.Signals}
SELF_TEST = """
import os, zlib
def locked(action, argument):
    try:
        action(argument)
        return False
    except OSError:
        return True
print(locked(os.getsid, 0), locked(open, "/etc/passwd"), zlib.decompress(zlib.compress(b"read")).decode(), end="")
"""
"""Shows that calls are filtered, that files are out of reach, and that a module not yet imported can still be."""


class Worker:
    """A template that is ready for programs. One thread at a time may use it; any may `kill` it."""

    def __init__(self, settings: SandboxSettings, layers: Layers, search: Sequence[str]) -> None:
        """Start it and try it.

        The thread that does so must live as long as the worker: the kernel ends a template with the thread that started
        it, so that no template survives a trainer that was killed.

        Args:
            settings: what a program may use.
            layers: what contains it.
            search: folders of the modules to preload.

        Raises:
            InfrastructureError: when it does not come up, with what it said.
        """
        self._settings = settings
        self._folder: str | None = None  # on the host; bubblewrap makes its own, which nobody has to remove
        if settings.writable and layers.bubblewrap is None:
            self._folder = os.path.realpath(tempfile.mkdtemp(prefix="agentrl-sandbox-"))
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_SECONDS)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self._command(layers, search),
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            self._remove_folder()
            raise InfrastructureError(f"The sandbox's template could not be started: {error}.") from error
        try:
            self._receive()
            self._try(layers)
        except BaseException:
            self.stop()
            raise

    def call(self, code: str, files: Mapping[str, str]) -> Execution:
        """Run a program and wait for its end.

        Raises:
            InfrastructureError: when the template failed; it must be stopped then.
        """
        started = time.monotonic()
        request = os.memfd_create("request")
        reading, output = os.pipe()
        try:
            try:
                with open(request, "wb", closefd=False) as file:
                    file.write(json.dumps({"code": code, "files": dict(files)}).encode())
                os.lseek(request, 0, os.SEEK_SET)
                socket.send_fds(self._control, [RUN], [request, output])
            finally:
                os.close(request)
                os.close(output)
            verdict, printed = self._wait(reading)
        except OSError as error:
            raise InfrastructureError(f"The sandbox's template could not be reached: {error}.") from error
        finally:
            os.close(reading)
        kept = self._settings.max_output
        truncated = len(printed) > kept
        ending: Status = "output" if truncated else _status(verdict)
        by = SIGNALS.get(-verdict["status"], "another signal") if ending == "killed" else None
        text = printed[:kept].decode("utf-8", "replace")
        return Execution(text, ending, truncated, time.monotonic() - started, by)

    def kill(self) -> None:
        """End it at once; a call in progress fails."""
        self._process.kill()

    def stop(self) -> None:
        """Let it end, and whatever it runs."""
        self._control.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                folder.remove(self._folder)

    def _command(self, layers: Layers, search: Sequence[str]) -> list[str]:
        in_view = layers.bubblewrap is not None
        plan = Plan(
            seconds=self._settings.timeout,
            memory=self._settings.memory_bytes,
            preload=self._settings.preload,
            search=search,
            libraries=libraries(),
            landlock=layers.landlock,
            seccomp=layers.seccomp,
            folder=FOLDER if self._settings.writable and in_view else self._folder,
            folder_bytes=self._settings.folder_bytes,
        )
        start = START.format(HARNESS if in_view else str(INSIDE.parent))
        return command(layers.bubblewrap, ["-c", start, plan.dump()], search, self._settings.folder_bytes)

    def _try(self, layers: Layers) -> None:
        tried = self.call(SELF_TEST, {})
        expected = f"{layers.seccomp} {bool(layers.landlock or layers.bubblewrap)} read"
        if tried.text != expected:
            raise InfrastructureError(
                f"A fresh sandbox failed its self-test: expected {expected!r}, got {tried.text!r} ({tried.status}). Is "
                "memory_mb too small, or the interpreter's folder closed to this user?"
            )

    def _wait(self, reading: int) -> tuple[dict[str, Any], bytes]:
        """What the template says of the end, and what the program printed, or a little more of it than is kept."""
        control, printed = self._control.fileno(), bytearray()
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(reading, select.POLLIN)
        deadline = time.monotonic() + self._settings.timeout + GRACE_SECONDS
        while True:
            ready = {number for number, _ in poll.poll(1000 * max(0.0, deadline - time.monotonic()))}
            if not ready:
                raise InfrastructureError("The sandbox's template hung.")
            if reading in ready:
                chunk = os.read(reading, CHUNK)
                printed += chunk
                if len(printed) > self._settings.max_output:
                    self._control.send(STOP)
                if not chunk or len(printed) > self._settings.max_output:
                    poll.unregister(reading)
            elif control in ready:
                return self._receive(), self._rest(reading, printed)

    def _rest(self, reading: int, printed: bytearray) -> bytes:
        """What is left in the pipe after the program's end. Some other process may hold the pipe open: never wait."""
        os.set_blocking(reading, False)
        with contextlib.suppress(BlockingIOError):
            while len(printed) <= self._settings.max_output and (chunk := os.read(reading, CHUNK)):
                printed += chunk
        return bytes(printed)

    def _receive(self) -> dict[str, Any]:
        try:
            message = self._control.recv(CHUNK)
        except OSError as error:
            raise InfrastructureError(f"The sandbox's template does not answer: {error}.") from error
        if not message:
            raise InfrastructureError(f"The sandbox's template has ended. {self._last_words()}".strip())
        answer: dict[str, Any] = json.loads(message)
        if "failed" in answer:
            raise InfrastructureError(f"The sandbox failed before a program began: {answer['failed']}")
        return answer

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        return (self._process.stderr.read() or b"")[-CHUNK:].decode("utf-8", "replace")


def _status(verdict: Mapping[str, Any]) -> Status:
    stopped, status = verdict["stopped"], verdict["status"]
    if stopped:
        ending: Status = stopped
        return ending
    if status < 0:
        return "timeout" if status == -signal.SIGXCPU else "killed"
    if status == EXIT_MEMORY:
        return "memory"
    return "ok" if status == 0 else "error"
