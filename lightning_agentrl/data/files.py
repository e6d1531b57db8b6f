"""Raw rows of a file: JSON lines (also gzipped), a JSON array, Parquet, or a folder that `datasets` saved."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KINDS = ".jsonl, .jsonl.gz, .json, .parquet, or a folder that `datasets` wrote with save_to_disk"


def raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Numbers and rows of a file, in order.

    A row is bytes where it is a line of JSON, otherwise what JSON or Arrow hold. It is counted from 1, by line where
    there are lines; blank lines do not count as rows.

    Args:
        path: a file that ends in .jsonl, .jsonl.gz, .json or .parquet, or a folder written by save_to_disk.

    Raises:
        ValueError: the file is damaged, or of another kind.
        FileNotFoundError: no such file.
    """
    if path.is_dir():
        yield from enumerate(_arrow_rows(path), start=1)
    elif path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
    elif path.suffix == ".json" and _holds_array(path):
        yield from enumerate(_array(path), start=1)
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    line = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                if content.strip():
                    yield line, content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged after line {line}: {error}. Copy or download it again.") from error


def _holds_array(path: Path) -> bool:
    """Whether a .json file is one array; some hold a row per line."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(4096).lstrip().startswith("[")


def _array(path: Path) -> list[Any]:
    try:
        rows: list[Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole JSON array: {error}. Copy or download it again.") from error
    return rows


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise _missing(path) from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowInvalid, OSError) as error:  # Arrow's name for pages that cannot be unpacked is OSError
        raise ValueError(f"{path} is not a whole Parquet file: {error}. Copy or download it again.") from error


def _arrow_rows(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a saved `Dataset`: its state names Arrow streams. Read with pyarrow; `datasets` itself is not needed."""
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = ", ".join(json.loads(splits.read_text(encoding="utf-8"))["splits"])
        raise ValueError(f"{folder} holds several splits; name the folder of one of them: {names}.")
    state = folder / "state.json"
    if not state.is_file():
        raise ValueError(f"{folder} is a folder without the state.json of a saved dataset; expected {KINDS}.")
    try:
        import pyarrow
    except ImportError as error:
        raise _missing(folder) from error
    for part in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
        path = folder / part["filename"]
        try:
            with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
                for batch in stream:
                    yield from batch.to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is not a whole Arrow stream: {error}. Save or copy it again.") from error


def _missing(path: Path) -> ImportError:
    return ImportError(f"Reading {path} needs pyarrow, which is not installed: pip install lightning-agentrl[data]")
