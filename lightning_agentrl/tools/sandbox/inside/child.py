"""One forked child: locks itself in, then runs one program."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

from . import folder, kernel, landlock, program, seccomp
from .plan import EXIT_ERROR, EXIT_SETUP, Plan

LOCKED = b"+"
"""Sent by a child when nothing is left to go wrong but the program."""
MOST_DETAIL = 2000
"""Characters of a failure that travel to the host."""
DESCRIPTORS = 64
"""The template keeps itself below this number, so that a child can close all that it holds, above all the socket."""


@dataclass(frozen=True)
class Locks:
    """What a template prepares once, so that a child only has to turn the keys."""

    rules: int | None
    """Descriptor of a Landlock ruleset."""
    instructions: bytes | None
    """The seccomp filter."""


def main(plan: Plan, locks: Locks, template: int, request: int, output: int, report: int) -> NoReturn:
    """Never returns to the template's code.

    Args:
        plan: what the template was told.
        locks: made by the template.
        template: its process number.
        request: descriptor of the program, as JSON.
        output: descriptor for all that it prints.
        report: descriptor that says whether the program was begun: its exit status could be anything.
    """
    try:
        job = _enter(plan, locks, template, request, output, report)
    except BaseException:  # noqa: BLE001 - must not reach the policy as if it were output
        os.write(report, traceback.format_exc()[-MOST_DETAIL:].encode("utf-8", "replace"))
        os._exit(EXIT_SETUP)
    status = EXIT_ERROR
    try:
        os.write(report, LOCKED)
        os.close(report)
        status = program.run(job["code"], plan.folder)
    finally:
        os._exit(status)


def _enter(plan: Plan, locks: Locks, template: int, request: int, output: int, report: int) -> Any:
    """Read the request, then give up everything that the program shall not have."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with open(request, "rb") as file:
        job = json.loads(file.read())
    os.dup2(output, 1)  # standard input is the template's, which is null
    os.dup2(output, 2)
    _close_all_but({report} if locks.rules is None else {report, locks.rules})
    os.chdir(plan.folder or "/")
    _reseed()
    _limit(plan)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.die_with_parent(template)
    if locks.rules is not None:
        landlock.restrict(locks.rules)
        os.close(locks.rules)
    if plan.folder is not None:
        folder.fill(plan.folder, job["files"])
    if locks.instructions is not None:
        seccomp.install(locks.instructions)
    return job


def _close_all_but(kept: set[int]) -> None:
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, DESCRIPTORS)


def _limit(plan: Plan) -> None:
    """Bound what one program may use. The wall clock is the template's; the clock of the CPU is for its absence."""
    seconds = int(plan.seconds) + 2
    limits = {
        resource.RLIMIT_AS: plan.memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: plan.folder_bytes if plan.folder is not None else 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for limit, value in limits.items():
        _, most = resource.getrlimit(limit)  # the trainer's own limits may be lower
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (least, least))


def _reseed() -> None:
    """NumPy's old generator comes out of a fork as it went in: every program would draw the same numbers."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()
