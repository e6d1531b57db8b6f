"""A BM25 index in a folder, with the passages: built once, then mapped into memory by every process."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import bm25s
import numpy as np
from filelock import FileLock

from lightning_agentrl.data.readers import Passage, each_passage
from lightning_agentrl.tools.retrieval.ranking import Ranking, build

log = logging.getLogger(__name__)

FORM = 1
"""Raise it when the same corpus should give another index."""


class StoredPassages(Sequence[Passage]):
    """Passages in a file of JSON lines that is read where it is needed."""

    def __init__(self, folder: Path) -> None:
        self._starts = np.load(folder / "starts.npy", mmap_mode="r")  # [passages + 1] bytes
        with (folder / "passages.jsonl").open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, number: int) -> Passage: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Passage]: ...
    def __getitem__(self, number: int | slice) -> Passage | Sequence[Passage]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        return Passage(*json.loads(self._bytes[start:end]))

    @staticmethod
    def write(passages: Iterable[Passage], folder: Path) -> Iterator[str]:
        """Write passages while handing on their contents."""
        starts = [0]
        with (folder / "passages.jsonl").open("wb") as file:
            for passage in passages:
                line = json.dumps([passage.id, passage.contents], ensure_ascii=False).encode() + b"\n"
                file.write(line)
                starts.append(starts[-1] + len(line))
                yield passage.contents
        np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))


def stored(corpus: Path, folder: Path, *, max_bad_rows: int) -> Ranking:
    """The index of a corpus in a folder; built now unless the folder holds the one of this very content.

    Ranks of one run may come here at once: one builds, the others wait.

    Raises:
        ValueError: the corpus has too many bad rows, or the folder cannot be written.
    """
    key = {"corpus": _digest(corpus), "form": FORM, "bm25s": bm25s.__version__}
    if not _holds(folder, key):
        if folder.exists() and not (folder / "index.json").is_file() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds something else than an index; name a new or an empty folder (index).")
        with _written(folder):
            if not _holds(folder, key):
                _build(corpus, folder, key, max_bad_rows)
    log.info("Searching %s with the index in %s.", corpus, folder)
    return Ranking(StoredPassages(folder), bm25s.BM25.load(folder, mmap=True))


def _build(corpus: Path, folder: Path, key: dict[str, object], max_bad_rows: int) -> None:
    """Build beside the folder and move, so that an interrupted attempt is never taken for an index."""
    log.info("Indexing %s into %s; once, then kept.", corpus, folder)
    partial = folder.with_name(f".{folder.name}.partial")  # who holds the lock is the only one to write it
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir()
    try:
        index = build(StoredPassages.write(each_passage(corpus, max_bad_rows=max_bad_rows), partial))
        index.save(partial, show_progress=False)
        (partial / "index.json").write_text(json.dumps(key), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _holds(folder: Path, key: dict[str, object]) -> bool:
    try:
        found: object = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found == key


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            yield
    except OSError as error:
        raise ValueError(
            f"The index of the corpus cannot be kept in {folder}: {error}. Name a folder that can be written (index)."
        ) from error


def _digest(corpus: Path) -> str:
    with corpus.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
