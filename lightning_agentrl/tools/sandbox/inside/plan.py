"""What the host tells a template process, and the words that the two exchange."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

RUN = b"run"
"""Host to template, with two descriptors: the request, and where the program's output goes."""
STOP = b"stop"
"""Host to template: the program printed too much, kill it."""
EXIT_ERROR = 1
"""Exit status of a program that raised, or that called `sys.exit` with anything but zero."""
EXIT_MEMORY = 3
"""Exit status of a program that ran out of memory."""
EXIT_SETUP = 70
"""Exit status of a child that failed before the program began; the template believes its pipe, not this number."""


@dataclass(frozen=True)
class Plan:
    """All that a template has to know; travels as JSON on its command line and holds no secret."""

    seconds: float
    """Wall-clock time of one program."""
    memory: int
    """Address space of one program, in bytes."""
    preload: Sequence[str]
    """Modules to import before the first call."""
    search: Sequence[str]
    """Folders that hold those which are not in the standard library."""
    libraries: Sequence[str]
    """Folders and files that a program may read."""
    landlock: int
    """ABI version of Landlock; 0 does without."""
    seccomp: bool
    """Whether to filter system calls."""
    folder: str | None = None
    """Where a program may write; None: nowhere."""
    folder_bytes: int = 0
    """How much."""

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Plan:
        """From JSON."""
        return cls(**json.loads(text))
