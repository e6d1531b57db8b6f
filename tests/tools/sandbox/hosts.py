"""Trainers in miniature: processes that hold a sandbox and come to an end, and a look at what they leave."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning_agentrl

PACKAGE = Path(lightning_agentrl.__file__).parent
START = f"""
import sys, types
for name in ("lightning_agentrl", "lightning_agentrl.types"):  # without what they import, which takes seconds
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(PACKAGE.parent)!r} + "/" + name.replace(".", "/")]
import asyncio, os, signal, threading, time
from lightning_agentrl.tools.sandbox import Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.inside import landlock
from lightning_agentrl.tools.sandbox.layers import Layers, probe
PLAIN = Layers(None, landlock.abi(), True)
"""
PATIENCE = 30.0
"""Seconds that a crowded machine may take to end a process."""


def start(code: str, python: Sequence[str] = (sys.executable,)) -> subprocess.Popen[str]:
    """Start a host, which runs ``code`` after the imports."""
    return subprocess.Popen(
        [*python, "-c", START + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def processes(marker: str) -> set[int]:
    """Numbers of those whose command line holds the marker; templates carry their settings there."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"inside.template" in line and marker.encode() in line:
                found.add(int(folder.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, within reason."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        select.select([], [], [], 0.01)


def wait_for(marker: str, count: int) -> set[int]:
    """Those processes, once there are so many of them."""
    found: set[int] = set()

    def enough() -> bool:
        found.clear()
        found.update(processes(marker))
        return len(found) >= count

    wait_until(enough)
    return found


def pair(marker: str) -> tuple[int, int]:
    """A template and the program that it runs, once that has written a file ``begun``.

    Numbers of processes wrap around, so look who is whose child.
    """
    wait_until(lambda: any(os.path.exists(f"{folder}/begun") for folder in private_folders(processes(marker))))
    one, other = processes(marker)
    return (one, other) if _parent(other) == one else (other, one)


def _parent(number: int) -> int:
    status = Path(f"/proc/{number}/status").read_text()
    return int(re.findall(r"^PPid:\s+(\d+)$", status, re.MULTILINE)[0])


def all_gone(numbers: set[int]) -> bool:
    """Whether these processes end, within reason."""
    poll = select.poll()
    handles = []
    for number in numbers:
        try:
            handles.append(os.pidfd_open(number))
        except ProcessLookupError:
            continue
        poll.register(handles[-1], select.POLLIN)
    waiting = set(handles)
    deadline = time.monotonic() + PATIENCE
    while waiting and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(1000 * left):
            poll.unregister(handle)
            waiting.discard(handle)
    for handle in handles:
        os.close(handle)
    return not waiting


def private_folders(numbers: set[int]) -> set[str]:
    """Folders that these processes let their programs write to."""
    lines = []
    for number in numbers:
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{number}/cmdline").read_text())
    return {found for line in lines for found in re.findall(r'"folder": "([^"]+)"', line)}
