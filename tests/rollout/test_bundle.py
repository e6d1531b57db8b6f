"""Saved collections: whole, portable, readable, and honest about damage."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.credit.apply import apply_credit, uncredited
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.types import (
    BranchPoint,
    Reward,
    RolloutBatch,
    Segment,
    Task,
    ToolCall,
    Trajectory,
    Turn,
)

TOKENIZER = train_tokenizer(["Škofja Loka lies in Slovenia.", "東京 🦜"] * 2, 320)


def segment(text: str, sampled: bool) -> Segment:
    ids = tuple(TOKENIZER.encode(text))
    return Segment(ids, sampled, (-0.5,) * len(ids) if sampled else None)


def collection() -> Collection:
    call = ToolCall("search", {"query": "東京", "limit": float("nan")}, ok=False, error_kind="timeout", latency=0.25)
    first = Turn(
        segment("search 東京", True), segment("nothing 🦜", False), (call,), text="search 東京", results=("nothing 🦜",)
    )
    last = Turn(segment("SVN", True), text="SVN", answer="SVN")
    task = Task("Ünï", ({"role": "user", "content": "Škofja Loka?"},), ("SVN",), {"hops": 2})
    trajectories = [
        Trajectory(
            id=row,
            group=0,
            sample=row,
            task=task,
            prompt=segment("Škofja Loka?", False),
            turns=(first, last),
            reward=Reward(float(row == 1), float(row == 1), {"exact_match": float(row == 1), "f1": float("nan")}),
            origin=BranchPoint(0, 20) if row == 2 else None,
        )
        for row in range(3)
    ]
    batch, _ = apply_credit(GRPO(), collate(trajectories))
    return Collection("train", 3, 7, trajectories, batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle.save(tmp_path / "rollouts", collection(), TOKENIZER, {"seed": 5})
    return tmp_path / "rollouts"


def test_another_assigner_starts_from_what_the_first_one_started_from(folder: Path) -> None:
    saved = bundle.load(folder)
    again, _ = apply_credit(GRPO(), uncredited(saved.batch))
    for name in ("advantages", "loss_mask", "offered_mask"):
        assert torch.equal(getattr(again, name), getattr(saved.batch, name)), name


def test_rows_that_may_not_be_trained_are_remembered_as_such() -> None:
    batch = collate(collection().trajectories)
    batch = replace(batch, loss_mask=batch.action_mask & (torch.arange(3)[:, None] > 0))
    credited, _ = apply_credit(GRPO(), batch)
    assert torch.equal(uncredited(credited).trainable, batch.trainable)


def test_every_tensor_survives(folder: Path) -> None:
    batch, loaded = collection().batch, bundle.load(folder).batch
    for f in fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(loaded, f.name), value), f.name
        elif value is None:
            assert getattr(loaded, f.name) is None, f.name
    assert torch.equal(loaded.components["outcome"], batch.components["outcome"])


def test_a_record_tells_the_story(folder: Path) -> None:
    record = bundle.load(folder).records[2]
    assert (record["task"], record["meta"], record["answer"]) == ("Ünï", {"hops": 2}, "SVN")
    assert record["origin"] == {"parent": 0, "column": 20, "score": 0.0}
    call = record["turns"][0]["tool_calls"][0]
    assert (call["name"], call["error_kind"], call["latency"]) == ("search", "timeout", 0.25)
    assert record["turns"][0]["results"] == ["nothing 🦜"]
    assert set(record["turns"][1]["credit"]) == {"outcome"}


def test_what_json_does_not_know_is_null(folder: Path) -> None:
    text = (folder / "rollouts.jsonl").read_text(encoding="utf-8")
    assert "NaN" not in text
    record = json.loads(text.splitlines()[0])
    assert record["reward_parts"] == {"exact_match": 0.0, "f1": None}
    assert record["turns"][0]["tool_calls"][0]["arguments"]["limit"] is None


def test_text_is_readable_in_the_file(folder: Path) -> None:
    assert "Škofja Loka?" in (folder / "rollouts.jsonl").read_text(encoding="utf-8")


def test_pieces_line_up_with_columns(folder: Path) -> None:
    saved = bundle.load(folder)
    for row, record in enumerate(saved.records):
        for number, turn in enumerate(record["turns"]):
            columns = (saved.batch.turn_ids[row] == number).nonzero().flatten().tolist()
            assert columns == list(range(turn["start"], turn["start"] + len(turn["tokens"])))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_pieces_put_together_are_the_text(text: str) -> None:
    ids = TOKENIZER.encode(text)
    pieces = Pieces(TOKENIZER)(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == TOKENIZER.decode(ids)


def test_a_character_of_several_tokens_belongs_to_the_last() -> None:
    bare = train_tokenizer(["nothing of the kind"], 320)  # one token per byte
    assert Pieces(bare)(bare.encode("a東b")) == ["a", "", "", "東", "b"]


def test_half_a_character_at_the_end_is_shown(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode("東")[:2]
    assert "".join(Pieces(tokenizer)(ids)) == tokenizer.decode(ids)


def test_a_bundle_that_was_not_finished_is_refused(folder: Path) -> None:
    (folder / "meta.json").unlink()
    with pytest.raises(ValueError, match="no whole trajectory bundle"):
        bundle.load(folder)


def test_another_schema_is_refused_with_both_versions(folder: Path) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match=f"schema 99; this version reads {bundle.SCHEMA}"):
        bundle.load(folder)


def test_a_torn_last_line_is_left_out_with_its_row(folder: Path) -> None:
    path = folder / "rollouts.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="only 2 of 3 rollouts are whole"):
        saved = bundle.load(folder)
    assert (len(saved.records), len(saved.batch)) == (2, 2)


def test_a_broken_line_in_the_middle_is_refused_with_its_number(folder: Path) -> None:
    path = folder / "rollouts.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-40], lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"rollouts\.jsonl, line 2 is not valid JSON"):
        bundle.load(folder)


@pytest.mark.parametrize("name", ["meta.json", "batch.safetensors"])
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x00\x01[]")
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        bundle.load(folder)


@pytest.mark.parametrize("name", ["rollouts.jsonl", "batch.safetensors"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is .*missing"):
        bundle.load(folder)


def test_tensors_of_an_unknown_name_are_refused(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"surprise": torch.zeros(3)}, folder / "batch.safetensors")
    with pytest.raises(ValueError, match="surprise"):
        bundle.load(folder)


def test_bundles_of_a_run_are_found_in_order(tmp_path: Path) -> None:
    for name in ("epoch-0010", "epoch-0005"):
        bundle.save(tmp_path / "rollouts" / name, collection(), TOKENIZER, {})
    assert [path.name for path in bundle.find(tmp_path)] == ["epoch-0005", "epoch-0010"]
    assert bundle.find(tmp_path / "rollouts" / "epoch-0005") == [tmp_path / "rollouts" / "epoch-0005"]


def test_a_run_without_saved_rollouts_says_how_to_save_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bundles\.every_n_epochs"):
        bundle.find(tmp_path)


def test_a_batch_on_loading_is_a_rollout_batch(folder: Path) -> None:
    assert isinstance(bundle.load(folder).batch, RolloutBatch)
