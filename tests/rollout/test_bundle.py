"""Saved collections."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.policy import load_tokenizer
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.testing import tiny_policy
from lightning_agentrl.types import Reward, RolloutBatch, Segment, Task, Trajectory, Turn


def saved(folder: Path) -> RolloutBatch:
    tokenizer = load_tokenizer(tiny_policy(folder / "policy"))
    trajectories = [
        Trajectory(
            id=row,
            group=0,
            sample=row,
            task=Task("Ünï", ({"role": "user", "content": "Škofja Loka?"},), ("SVN",)),
            prompt=Segment(tuple(tokenizer.encode("Škofja Loka?")), sampled=False),
            turns=(Turn(Segment((60, 61), sampled=True, logprobs=(-0.5, -0.25))),),
            reward=Reward(float(row), float(row)),
        )
        for row in range(2)
    ]
    batch = collate(trajectories)
    credit = GRPO()(batch)
    batch = replace(batch, advantages=credit.advantages, components=credit.components, loss_mask=batch.action_mask)
    bundle.save(folder / "rollouts", trajectories, batch, tokenizer, {"epoch": 3})
    return batch


def test_a_loaded_bundle_gives_the_same_credit_bit_for_bit(tmp_path: Path) -> None:
    batch = saved(tmp_path)
    _, loaded, meta = bundle.load(tmp_path / "rollouts")
    assert torch.equal(GRPO()(loaded).advantages, batch.advantages)  # type: ignore[arg-type]
    assert meta["epoch"] == 3


def test_every_tensor_survives(tmp_path: Path) -> None:
    batch = saved(tmp_path)
    _, loaded, _ = bundle.load(tmp_path / "rollouts")
    for f in fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(loaded, f.name), value), f.name
        elif value is None:
            assert getattr(loaded, f.name) is None, f.name
    assert torch.equal(loaded.components["outcome"], batch.components["outcome"])


def test_records_are_readable_text(tmp_path: Path) -> None:
    saved(tmp_path)
    text = (tmp_path / "rollouts" / "rollouts.jsonl").read_text(encoding="utf-8")
    assert "Škofja Loka?" in text
    assert json.loads(text.splitlines()[1])["outcome"] == 1.0


def test_a_bundle_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "rollouts" / "meta.json").unlink()
    with pytest.raises(ValueError, match="no whole trajectory bundle"):
        bundle.load(tmp_path / "rollouts")


def test_another_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "rollouts" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match=f"schema 99; this version reads {bundle.SCHEMA}"):
        bundle.load(tmp_path / "rollouts")
