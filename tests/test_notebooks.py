"""Committed notebooks are what their scripts say, executed in full, with pictures, and free of traces of a machine."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt|mnt|Users|content|var)/|file://")
"""Absolute paths."""
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def executed(script: Path) -> Any:
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def texts(output: dict[str, Any]) -> str:
    """All that an output says, pictures left out."""
    said = [output.get("text", ""), output.get("evalue", "")]
    return "".join([*said, *(str(text) for kind, text in output.get("data", {}).items() if kind != "image/png")])


def test_there_are_seven_in_order() -> None:
    assert [script.name[:2] for script in SCRIPTS] == ["01", "02", "03", "04", "05", "06", "07"]
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {script.stem for script in SCRIPTS}


@each
def test_a_notebook_holds_the_cells_of_its_script(script: Path) -> None:
    said = [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    assert [(cell.cell_type, cell.source) for cell in executed(script).cells] == said


@each
def test_a_notebook_was_executed_from_top_to_bottom_and_draws(script: Path) -> None:
    cells = [cell for cell in executed(script).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    assert "image/png" in kinds


@each
def test_a_notebook_asserts_its_own_claim(script: Path) -> None:
    code = "\n".join(cell.source for cell in executed(script).cells if cell.cell_type == "code")
    assert re.search(r"^\s*assert |assert_close\(", code, re.MULTILINE)


@each
def test_outputs_hold_neither_errors_nor_traces_of_a_machine(script: Path) -> None:
    outputs = [output for cell in executed(script).cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    said = "\n".join(map(texts, outputs))
    assert not MACHINE.findall(said)
    assert socket.gethostname() not in said.split()


def test_all_of_them_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.ipynb")) < 3_000_000
