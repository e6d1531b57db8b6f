"""What a hostile program is, and what must become of it; the tables lie beside this file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

FULL, NO_BUBBLEWRAP, NO_LANDLOCK = "full", "without bubblewrap", "without Landlock"
OLD_LANDLOCK = "the first Landlock only"
MODES = (FULL, NO_BUBBLEWRAP, NO_LANDLOCK, OLD_LANDLOCK)

PRELUDE = """
import ctypes, errno, os, sys
_libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    "Make a raw system call; what the kernel said."
    whole = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]  # in 64 bits
    done = _libc.syscall(ctypes.c_long(number), *whole)
    return "done" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(action, *arguments):
    "Try something; what came of it."
    try:
        return f"done {action(*arguments)!r}"
    except BaseException as error:
        return f"{type(error).__name__} {errno.errorcode.get(getattr(error, 'errno', None), error)}"
"""


@dataclass(frozen=True)
class Hostile:
    """A program, and the reason for which it must fail."""

    group: str
    name: str
    code: str
    status: str
    """How it must end; several, with bars between them, where the kernel's mood decides."""
    says: str | Mapping[str, str] = ""
    """Pattern of its whole output, by mode if layers differ; where it would otherwise be unclear what stopped it."""
    slow: bool = False
    """Whether it takes its time to be stopped."""
    writes: bool = False
    """Whether it runs in a sandbox with a folder."""

    def problem(self, mode: str, status: str, text: str, signal: str | None = None) -> str | None:
        """What is wrong with how it ended; None if that is as it should be."""
        ending = f"killed {signal}" if signal else status
        if ending not in self.status.split("|"):
            return f"ended {ending}, not {self.status}: {text[-500:]}"
        alike = NO_BUBBLEWRAP if mode == OLD_LANDLOCK else mode
        pattern = self.says if isinstance(self.says, str) else self.says[alike]
        if pattern and not re.fullmatch(pattern, text.strip(), re.DOTALL):
            return f"was to say {pattern!r}, said {text[-500:]!r}"
        return None


def refused(error: str) -> str:
    """Pattern of a traceback that ends so."""
    return rf"Traceback .*\n{error}"


EPERM = refused(r"PermissionError: \[Errno 1\].*")
OUT_OF_SIGHT = {
    FULL: refused("FileNotFoundError.*"),
    NO_BUBBLEWRAP: refused(r"PermissionError: \[Errno 13\].*"),
    NO_LANDLOCK: refused("FileNotFoundError.*"),
}
"""Bubblewrap does not show a file; Landlock shows that it is there and lets nobody in."""
OUT_OF_REACH = {FULL: "FileNotFoundError ENOENT", NO_LANDLOCK: "FileNotFoundError ENOENT"} | {
    NO_BUBBLEWRAP: "PermissionError EACCES"
}
"""The same from `attempt`."""
