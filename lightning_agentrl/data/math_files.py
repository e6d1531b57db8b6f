"""Tables that are written to a folder together: all of them, or none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PARAMETERS = "parameters.json"
"""Written last: a folder with it is complete."""


def holds(folder: Path, files: Iterable[str], parameters: Mapping[str, Any]) -> bool:
    """Whether a folder was written with these parameters, and is complete."""
    if not all((folder / name).is_file() for name in (PARAMETERS, *files)):
        return False
    try:
        written = json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(written == json.loads(json.dumps(parameters)))  # JSON makes lists of tuples


def write_tables(
    folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], parameters: Mapping[str, Any]
) -> None:
    """Write tables of JSON lines by file name; the old ones stay until the new ones are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        for name, rows in tables.items():
            with (partial / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (partial / PARAMETERS).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
        (folder / PARAMETERS).unlink(missing_ok=True)
        for name in (*tables, PARAMETERS):
            os.replace(partial / name, folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
