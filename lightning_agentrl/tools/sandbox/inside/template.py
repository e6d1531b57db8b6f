"""The template process: imports the modules once, then forks a child for each program and watches over it.

Never sees a program or its output: those pass through descriptors, so no child can find another's in its memory.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from . import child, folder, kernel, landlock, seccomp, syscalls
from .plan import RUN, Plan

SETUP_SECONDS = 20.0
"""Until a child must have locked itself in; a crowded machine may need some."""
TICK = 0.02
"""Seconds between two looks at how full the folder is."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

WARM_UP = {
    "sympy": "x = sympy.Symbol('x')\nsympy.simplify(sympy.integrate(x * sympy.exp(x), x) + sympy.expand(x**2))",
    "numpy": "numpy.random, numpy.fft, numpy.linalg, numpy.polynomial",
}
"""These import half of themselves when they are first used; without this, each program would do so anew."""


def main() -> None:
    """Serve calls until the host closes the socket."""
    plan = Plan.load(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the trainer blocks or ignores was inherited
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_NOFILE, (child.DESCRIPTORS, child.DESCRIPTORS))
    control = socket.socket(fileno=os.dup(1))  # the host's socket comes as standard output,
    os.dup2(2, 1)  # which a module may print to as it is imported
    try:
        try:
            _end_with(control)
            locks = _prepare(plan)
        except Exception:  # noqa: BLE001 - the host says it to the user
            _answer(control, {"failed": traceback.format_exc()[-child.MOST_DETAIL :]})
            return
        signal.signal(signal.SIGTERM, _leave)  # not before: a module that hangs could not be ended by a handler
        _answer(control, {"ready": os.getpid()})
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 64, 2)
            if not message:
                return
            if message == RUN:  # else a wish to stop that came too late
                _answer(control, _call(plan, locks, control, descriptors))
    finally:
        if plan.folder is not None:
            with contextlib.suppress(OSError):  # a mount of bubblewrap's cannot be removed and need not be
                folder.remove(plan.folder)


def _end_with(control: socket.socket) -> None:
    """End when the trainer does, even while a module is imported.

    The trainer may have ended before the kernel was asked to tell; its end of the socket is closed then.
    """
    # Process 1 of a namespace takes no SIGTERM, and its folder goes with it; any other may have one to remove.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL if os.getpid() == 1 else signal.SIGTERM)
    poll = select.poll()
    poll.register(control, select.POLLHUP)
    if poll.poll(0):
        raise ProcessLookupError("the trainer has ended")


def _leave(number: int, frame: Any) -> NoReturn:
    raise SystemExit(0)


def _answer(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


def _prepare(plan: Plan) -> child.Locks:
    """Import the modules, make the locks, and forget what nobody needs to know."""
    os.environ.update(ONE_THREAD)
    sys.path += plan.search
    for name in plan.preload:
        module = importlib.import_module(name)
        with contextlib.suppress(Exception):  # of some other version of it
            exec(WARM_UP.get(name, ""), {name: module})
    readable = [*plan.libraries, *_homes(plan.search)]
    sys.path[:] = [path for path in sys.path if path not in plan.search]
    for path in plan.search:
        sys.path_importer_cache.pop(path, None)
    os.environ.clear()
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # site.py would have made them
    sys.dont_write_bytecode = True
    rules = landlock.ruleset(plan.landlock, readable, plan.folder) if plan.landlock else None
    allowed = syscalls.allowed(writable=plan.folder is not None)
    instructions = seccomp.compile_filter(allowed) if plan.seccomp else None
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    gc.collect()
    gc.freeze()
    return child.Locks(rules, instructions)


def _homes(search: Sequence[str]) -> set[str]:
    """Where the imported modules lie: their packages, not all that is installed beside them."""
    homes = set()
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        for base in search:
            if origin and origin.startswith(base + os.sep):
                home = os.path.join(base, origin[len(base) + 1 :].split(os.sep)[0])
                homes |= {home, f"{home}.libs"}  # where wheels keep the libraries that they bring
    return homes


def _call(plan: Plan, locks: child.Locks, control: socket.socket, descriptors: Sequence[int]) -> dict[str, Any]:
    """Fork, watch, and say how it ended."""
    request, output = descriptors
    reading, report = os.pipe()
    template = os.getpid()
    pid = os.fork()
    if pid == 0:
        child.main(plan, locks, template, request, output, report)
    for descriptor in (request, output, report):
        os.close(descriptor)
    handle = os.pidfd_open(pid)
    try:
        locked, stopped = _watch(plan, handle, reading, control)
    finally:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(handle)
        os.close(reading)
    if plan.folder is not None:
        if not stopped and not folder.fits(plan.folder, plan.folder_bytes):
            stopped = "disk"
        folder.empty(plan.folder)
    if locked != child.LOCKED:
        return {"failed": locked.decode("utf-8", "replace") or f"the child never began ({stopped or status})"}
    return {"stopped": stopped, "status": os.waitstatus_to_exitcode(status)}


def _watch(plan: Plan, handle: int, reading: int, control: socket.socket) -> tuple[bytes, str]:
    """Wait until the child has ended or must; what it reported of its locks, and why it must end."""
    locked = b""
    poll = select.poll()
    for descriptor in (handle, reading, control.fileno()):
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + SETUP_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        ready = {descriptor for descriptor, _ in poll.poll(1000 * (left if plan.folder is None else min(left, TICK)))}
        if reading in ready:
            locked = os.read(reading, 2 * child.MOST_DETAIL)
            poll.unregister(reading)
            deadline = time.monotonic() + plan.seconds
        if handle in ready:
            return locked, ""
        if control.fileno() in ready:
            control.recv(64)  # a wish to stop; or nothing, the host has gone, and so will the caller be
            return locked, "output"
        if locked and plan.folder is not None and not folder.fits(plan.folder, plan.folder_bytes):
            return locked, "disk"
    return locked, "timeout"
