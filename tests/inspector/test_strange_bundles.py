"""`recredit` and `view` on bundles of other versions, damaged ones, and ones that mean harm."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from saved_rollouts import rollouts, save_rollouts

from lightning_agentrl.cli import main

COMMANDS = {
    "recredit": ["--credit", "IGPO", "--vs", "GRPO"],
    "view": ["--vs", "IGPO"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_rollouts(tmp_path / "rollouts" / "epoch-0003")


def ask(command: str, folder: Path) -> int:
    return main([command, str(folder), *COMMANDS[command]])


def meta(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def record(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes the second rollout."""

    def apply(folder: Path) -> None:
        path = folder / "rollouts.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        second = json.loads(lines[1])
        change(second)
        lines[1] = json.dumps(second)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return apply


def tensor(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "batch.safetensors"
        found = load_file(path)
        save_file({**found, name: make(found[name]).contiguous()}, path)

    return apply


def cut(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "older schema": (meta(schema=1), "schema 1; this version reads"),
    "newer schema": (meta(schema=99), "schema 99; this version reads"),
    "epoch is no number": (meta(epoch="<b>3</b>"), "meta.json is damaged"),
    "meta data cut": (cut("meta.json"), "meta.json is damaged"),
    "tensors cut": (cut("batch.safetensors"), "batch.safetensors is damaged"),
    "records missing": (lambda folder: (folder / "rollouts.jsonl").unlink(), "no saved rollouts"),
    "not a number": (record(lambda r: r.update(reward=float("nan"))), "line 2 is not valid JSON"),
    "a field missing": (record(lambda r: r.pop("turns")), "rollout 2 has no sound 'turns'"),
    "a field of another type": (record(lambda r: r.update(task={"a": 1})), "rollout 2 has no sound 'task'"),
    "turn outside": (record(lambda r: r["turns"][0].update(start=10**6)), "rollout 2 lies outside the tokens"),
    "too many turns": (record(lambda r: r.update(turns=r["turns"] * 9)), "rollout 2 has more turns than its tensors"),
    "rows missing": (tensor("rewards", lambda t: t[:-1]), "rewards has shape [7]; expected [N] with N=8"),
    "columns missing": (tensor("advantages", lambda t: t[:, :-1]), "advantages has shape"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_bundle_ends_with_one_clear_line(
    folder: Path, command: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DAMAGE[damage]
    change(folder)
    assert ask(command, folder) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (folder / "view.html").exists()
    assert not (folder / "recredit").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bundle_whose_last_line_is_torn_is_read_without_it(folder: Path, command: str) -> None:
    path = folder / "rollouts.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="only 7 of 8 rollouts are whole"):
        assert ask(command, folder) == 0
    made = folder / ("view.html" if command == "view" else "recredit/turns.csv")
    assert "task-1" in made.read_text(encoding="utf-8")


def test_an_earlier_damaged_collection_does_not_hide_a_later_one(folder: Path) -> None:
    meta(epoch=1)(save_rollouts(folder.parent / "epoch-0001"))
    cut("batch.safetensors")(folder.parent / "epoch-0001")
    assert main(["view", str(folder.parent), "--epoch", "3"]) == 0


def test_what_a_policy_wrote_cannot_steer_the_terminal_or_break_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = '\x1b]0;owned\x07\x1b[2J[red]x[/red]\u202e,"\n=HYPERLINK(1)'
    folder = save_rollouts(tmp_path / "rollouts", rollouts())
    path = folder / "rollouts.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for each in records:
        each["task"] = hostile
        for turn in each["turns"]:
            turn["action"] = hostile
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    assert ask("recredit", folder) == 0
    said = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "[red]x[/red]" in said
    rows = list(csv.DictReader((folder / "recredit" / "turns.csv").open(encoding="utf-8", newline="")))
    assert {row["text"] for row in rows} == {hostile}
