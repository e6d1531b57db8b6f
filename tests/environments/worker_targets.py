"""What the tests of worker pools run in them; loaded by workers as a file of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


class Counter:
    """Counts, and misbehaves on demand."""

    def __init__(self, start: int = 0) -> None:
        if start < 0:
            raise ValueError("below zero")
        self.count = start

    def add(self, number: int = 1) -> int:
        self.count += number
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def raises(self) -> None:
        raise KeyError("no such key")

    def hangs(self) -> None:
        while True:
            time.sleep(60)

    def works(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def dies(self) -> None:
        print("Last words", flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)

    def prints(self) -> None:
        print("noise " * 20_000, flush=True)  # noqa: T201 - more than a pipe holds

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def environ(self, name: str) -> str | None:
        return os.environ.get(name)

    def echo(self, value: Any) -> Any:
        return value


class Ledger:
    """Writes down that it was closed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def close(self) -> None:
        with open(self.path, "a") as file:
            file.write("closed\n")

    def wait(self) -> None:
        """Be answered after what was asked before."""
