"""The few calls to the kernel that Python's standard library has no names for."""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522


@cache
def libc() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """The result, unless it is C's way to say that a call failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def prctl(option: int, value: int = 0, pointer: Any = None) -> None:
    """Change something about this process."""
    arguments = (ctypes.c_ulong(value), pointer or ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    checked(libc().prctl(option, *arguments), f"prctl {option}")


def syscall(number: int, *arguments: Any) -> int:
    """A system call that the C library has no function for."""
    return int(libc().syscall(ctypes.c_long(number), *arguments))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends. One that has ended already can no longer do that, so look."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def drop_capabilities() -> None:
    """Give up what makes root more than the owner of its files; does nothing to other users."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    checked(libc().capset(header, (ctypes.c_uint32 * 6)()), "capset")
