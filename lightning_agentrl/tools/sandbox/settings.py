"""What a sandbox may cost, and what comes of a program that runs in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "error", "timeout", "memory", "output", "disk", "killed"]
"""How a program ended: by itself; with an exception or a nonzero exit; over its time, memory, output or folder; or by a
signal, such as that of a crash."""


@dataclass(frozen=True)
class SandboxSettings:
    """How many programs may run at once, and what each may use."""

    slots: int = 2
    """Programs that run at the same time; each slot is a process of its own, with the modules imported. At least 1."""
    timeout: float = 5.0
    """Wall-clock seconds of one program."""
    memory_mb: int = 512
    """Address space of one program in MiB; interpreter and imported modules count (70 with SymPy, 190 with NumPy)."""
    max_output: int = 65536
    """Bytes of output that are kept; a program that prints more is stopped."""
    preload: Sequence[str] = ("math", "statistics", "sympy")
    """Modules imported before the first call. A program can import these, their submodules and the standard library."""
    recycle_after: int = 1000
    """Calls after which a slot's process is replaced by a fresh one."""
    writable: bool = False
    """Give each program a private folder, empty or with given files, as its working directory; it may write there and
    nowhere else, and what it leaves is removed."""
    writable_mb: int = 16
    """Size of that folder in MiB; each file or folder in it counts for 16 KiB beside its contents."""
    unsafe_no_isolation: bool = False
    """Run even where this machine cannot contain a program. It can then read all that the trainer can read."""

    def __post_init__(self) -> None:
        for name in ("slots", "timeout", "memory_mb", "max_output", "recycle_after", "writable_mb"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} of a sandbox must be positive, got {getattr(self, name)}.")

    @property
    def memory_bytes(self) -> int:
        """Address space of one program."""
        return self.memory_mb << 20

    @property
    def folder_bytes(self) -> int:
        """Size of a program's folder; 0 if it has none."""
        return self.writable_mb << 20 if self.writable else 0


@dataclass(frozen=True)
class Execution:
    """What came of a program."""

    text: str
    """What it printed, errors included, in the order in which it did; bytes that are no UTF-8 are replaced."""
    status: Status
    truncated: bool
    """Whether it printed more than is kept."""
    seconds: float
    """From its start to its end, without the wait for a slot."""
    signal: str | None = None
    """Name of the signal that ended it, for status ``killed``."""
