"""Executes notebooks/*.py; in full it also writes the .ipynb beside each, outputs included.

Usage: scripts/notebooks.py [--quick] [NAME …]     NAME is the beginning of a file's name, such as 04
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent.parent / "notebooks"
TIMEOUT = 900
"""Seconds that one cell may take, on a machine as busy as it likes."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(source: Path, quick: bool) -> float:
    """Run a notebook in its folder; seconds that it took.

    Raises:
        CellExecutionError: where a cell fails, with its traceback.
    """
    notebook = jupytext.read(source)
    os.environ["AGENTRL_QUICK"] = "1" if quick else ""
    client = NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(FOLDER)}})
    client.coalesce_streams = True
    started = time.perf_counter()
    client.execute()
    if not quick:
        notebook.metadata = METADATA
        for number, cell in enumerate(notebook.cells):  # nothing that differs from one execution to the next
            cell.id = f"cell-{number}"
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
    return time.perf_counter() - started


def main() -> int:
    """Run what was asked for; 1 if a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of names; all notebooks by default")
    parser.add_argument("--quick", action="store_true", help="shorter training runs, nothing is saved")
    arguments = parser.parse_args()
    chosen = [p for p in sorted(FOLDER.glob("[0-9]*.py")) if p.name.startswith(tuple(arguments.names or ("",)))]
    if not chosen:
        parser.error(f"no notebook in {FOLDER} begins with {' or '.join(arguments.names)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose more by sharing work than they gain
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # of tqdm, about a progress bar nobody draws
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command line does
    failed = 0
    for source in chosen:
        try:
            print(f"{source.stem}: {execute(source, arguments.quick):.0f} s", flush=True)
        except CellExecutionError as error:
            failed = 1
            print(f"{source.stem}: {error}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
