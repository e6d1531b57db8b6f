"""The private folder of a program that may write: filled before it runs, measured meanwhile, emptied afterwards."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from itertools import count

ENTRY = 1 << 14
"""Bytes that a file or folder counts for, beside its contents: making many of them and removing them is slow."""


def fill(folder: str, files: Mapping[str, str]) -> None:
    """Write files by relative path; the caller has checked that no path leads out."""
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)


def fits(folder: str, limit: int) -> bool:
    """Whether what lies in the folder takes no more than so many bytes. Stops counting where it is clear."""
    used, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    used += ENTRY
                    with contextlib.suppress(FileNotFoundError):  # the program is running
                        found = entry.stat(follow_symlinks=False)
                        used += found.st_blocks * 512
                        if stat.S_ISDIR(found.st_mode):
                            folders.append(entry.path)
                    if used > limit:
                        return False
        except FileNotFoundError:
            continue
        except OSError:  # a path too long to follow, or a folder made unreadable
            return False
    return True


def empty(folder: str) -> None:
    """Remove all that a program left, however deep it is nested. No program may be running.

    Folders are moved up before they are removed, so no path grows longer than two names: a recursive removal would run
    out of stack, of descriptors, or of room for the path.
    """
    names = (os.path.join(folder, f".removed-{number}") for number in count())
    while entries := _entries(folder):
        for path in entries:
            if not _opened(path):
                os.unlink(path)
                continue
            for inner in _entries(path):
                if _opened(inner):
                    os.rename(inner, next(name for name in names if not os.path.lexists(name)))
                else:
                    os.unlink(inner)
            os.rmdir(path)


def remove(folder: str) -> None:
    """Empty a folder and remove it; it may have gone already."""
    with contextlib.suppress(FileNotFoundError):
        empty(folder)
        os.rmdir(folder)


def _entries(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries]


def _opened(path: str) -> bool:
    """Whether it is a folder; one is then made such that it can be listed, emptied and moved."""
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU)
    return stat.S_ISDIR(mode)
