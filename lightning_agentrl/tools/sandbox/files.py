"""Checks the files that a program is given: what cannot be written must not look like a failure of the machinery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from lightning_agentrl.tools.sandbox.inside.folder import ENTRY

LONGEST_NAME, LONGEST_PATH = 255, 1000
"""In bytes. The kernel takes longer paths, from the root on."""
BLOCK = 4096
"""Bytes that disks give to a file at a time."""


def checked(files: Mapping[str, str], room: int) -> dict[str, str]:
    """Files by normal path.

    Args:
        files: text by path, relative to the program's folder.
        room: bytes that the folder may hold; 0 if there is none.

    Raises:
        ValueError: for paths that lead out, are too long or pass through another file, and for more than there is room.
    """
    if files and not room:
        raise ValueError(f"A sandbox that takes files needs writable: true, got {', '.join(files)}.")
    normal = {}
    for name, text in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise ValueError(f"Files lie in the program's folder, at a relative path without '..', got {name!r}.")
        if max(len(part.encode()) for part in path.parts) > LONGEST_NAME or len(name.encode()) > LONGEST_PATH:
            raise ValueError(f"The path of a file must be shorter, got {name[:80]!r} … of {len(name)} characters.")
        normal[path] = text
    for path in normal:
        through = next((str(parent) for parent in path.parents if parent in normal), None)
        if through is not None:
            raise ValueError(f"{str(path)!r} cannot lie below {through!r}, which is a file.")
    folders = set().union(*(path.parents for path in normal)) - {PurePosixPath()}
    lengths = [len(text.encode("utf-8", "surrogatepass")) for text in normal.values()]
    size = sum(ENTRY + BLOCK * -(-length // BLOCK) for length in lengths) + (ENTRY + BLOCK) * len(folders)
    if size > room:
        raise ValueError(f"{len(normal)} files take {size} bytes, the program's folder has room for {room}.")
    return {str(path): text for path, text in normal.items()}
