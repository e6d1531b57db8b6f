"""Which layers of isolation this machine offers, found by trying them."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import cache

from lightning_agentrl.tools.sandbox.inside import kernel, landlock
from lightning_agentrl.tools.sandbox.view import command

PROBE_SECONDS = 30.0
SECCOMP_GET_ACTION_AVAIL, SECCOMP_CALL, KILL_PROCESS = 2, 317, 0x80000000


class SandboxUnavailable(RuntimeError):
    """This machine cannot contain a program."""


@dataclass(frozen=True)
class Layers:
    """What is there to contain a program. Seccomp and one of the other two must be."""

    bubblewrap: str | None
    """Path of a bubblewrap that works."""
    landlock: int
    """ABI version; 0 if there is none."""
    seccomp: bool
    """Whether system calls can be filtered."""

    def require(self, unsafe: bool = False) -> None:
        """Refuse to go on without enough of them.

        Args:
            unsafe: go on with fewer, and warn.

        Raises:
            SandboxUnavailable: naming what is missing, what to do, and the option that goes on regardless.
        """
        if sys.platform != "linux":
            raise SandboxUnavailable(f"The sandbox needs Linux, this is {sys.platform}.")
        if self.seccomp and (self.landlock or self.bubblewrap):
            return
        have = f"seccomp {_yes(self.seccomp)}, Landlock {_yes(self.landlock)}, bubblewrap {_yes(self.bubblewrap)}"
        if unsafe:
            warnings.warn(f"unsafe_no_isolation: programs of the policy are not contained ({have}).", stacklevel=3)
            return
        raise SandboxUnavailable(
            f"Programs of the policy cannot be contained here ({have}). The sandbox needs seccomp (its table of system "
            "calls is for x86_64) and one of Landlock (Linux 5.13, unless the container forbids it) and bubblewrap "
            "(installed, and allowed to make namespaces). To run programs without protection, set "
            "unsafe_no_isolation: true."
        )


@cache
def probe(folder_bytes: int = 0) -> Layers:
    """The layers of this machine.

    Args:
        folder_bytes: size of the private folder, which old versions of bubblewrap cannot make; 0 for none.
    """
    if sys.platform != "linux":
        return Layers(None, 0, seccomp=False)
    return Layers(_bubblewrap(folder_bytes), landlock.abi(), _seccomp())


def _bubblewrap(folder_bytes: int) -> str | None:
    """Path of bubblewrap if it can start Python; many containers have it and forbid what it does."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    try:
        trial = command(found, ["-c", ""], folder_bytes=folder_bytes)
        done = subprocess.run(
            trial, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None


def _seccomp() -> bool:
    if platform.machine() != "x86_64":
        return False
    action = ctypes.c_uint32(KILL_PROCESS)
    return kernel.syscall(SECCOMP_CALL, ctypes.c_uint(SECCOMP_GET_ACTION_AVAIL), 0, ctypes.byref(action)) == 0


def _yes(layer: object) -> str:
    return "yes" if layer else "no"
