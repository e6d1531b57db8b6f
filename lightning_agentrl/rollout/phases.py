"""How long each phase of a collection took, and who wants to know while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PhaseClock:
    """Adds up seconds per phase; listeners hear of the start of each, and of progress inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.total: dict[str, float] = {}
        self.listeners: list[Callable[[str, str], None]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        self.tell(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            for account in (self.seconds, self.total):
                account[name] = account.get(name, 0.0) + spent

    def tell(self, name: str, detail: str = "") -> None:
        """Let listeners know where the phase stands."""
        for listener in self.listeners:
            listener(name, detail)

    def take(self) -> dict[str, float]:
        """The seconds since the last call; `total` goes on counting."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A block that takes its seconds by itself, and leaves those before it to be taken later."""
        before = self.take()
        try:
            yield
        finally:
            self.seconds = before
