"""The cold start: tokens as in a rollout, an unbiased loss, a cache that knows what it holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.data.demonstrations import Demonstration, read_demonstrations
from lightning_agentrl.environments.make_data import make_data
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.policy import TinyPolicy, load_config, load_policy, load_tokenizer
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import Task
from lightning_agentrl.warmstart import DemonstrationBatches, SFTModule, WarmStart, encode, warm_start

FORMAT = HermesFormat()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_data("synthetic", folder, top_k=1, questions=16, validation=8, demonstrations=64)
    return folder


def settings(folder: Path, **options: object) -> WarmStart:
    shape = TinyPolicy(vocab_size=384, hidden_size=32, layers=1, context=512)
    return WarmStart(shape=shape, cache=str(folder), **{"steps": 3, "batch_size": 8, **options})  # type: ignore[arg-type]


def test_a_demonstration_has_the_tokens_that_a_rollout_saying_the_same_has(world: Path, tmp_path: Path) -> None:
    policy = warm_start(settings(tmp_path), world / "demonstrations.jsonl", FORMAT)
    tokenizer = load_tokenizer(str(policy))
    demonstration = next(d for d in read_demonstrations(world / "demonstrations.jsonl") if len(d.turns) > 2)
    replies = iter([FORMAT.action(tokenizer, action) for action, _ in demonstration.turns])
    environment = SearchQA(data_dir=world, top_k=1)
    engine = ScriptedEngine(lambda ids, params: next(replies))
    sampler = Sampler(engine, environment, FORMAT, Independent(), tokenizer, Limits(9, 64, 511))
    task = Task("d", demonstration.prompt)
    (rollout,) = asyncio.run(sampler.collect([Job(task, 0, 1)], temperature=1.0, seed=0, epoch=0))
    ids, learnt = encode(demonstration, FORMAT, tokenizer, observations=False)
    assert ids[: len(rollout.prompt)] == list(rollout.prompt.token_ids)
    said = [token for turn in rollout.turns for token in turn.action.token_ids]
    assert [token for token, mask in zip(ids, learnt, strict=True) if mask] == said


def test_a_second_start_finds_the_policy(world: Path, tmp_path: Path) -> None:
    demonstrations = world / "demonstrations.jsonl"
    first = warm_start(settings(tmp_path), demonstrations, FORMAT)
    marker = first / "model.safetensors"
    before = marker.stat().st_mtime_ns
    assert warm_start(settings(tmp_path), demonstrations, FORMAT) == first
    assert marker.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"steps": 4}, {"seed": 1}, {"observations": True}, {"learning_rate": 1e-4}])
def test_other_settings_are_another_policy(world: Path, tmp_path: Path, change: dict[str, object]) -> None:
    demonstrations = world / "demonstrations.jsonl"
    assert warm_start(settings(tmp_path), demonstrations, FORMAT) != warm_start(
        settings(tmp_path, **change), demonstrations, FORMAT
    )


def test_a_policy_that_was_not_finished_is_made_again(world: Path, tmp_path: Path) -> None:
    folder = warm_start(settings(tmp_path), world / "demonstrations.jsonl", FORMAT)
    (folder / "warmstart.json").unlink()
    (folder / "model.safetensors").unlink()
    warm_start(settings(tmp_path), world / "demonstrations.jsonl", FORMAT)
    assert (folder / "model.safetensors").is_file()


def test_training_lowers_the_loss(world: Path, tmp_path: Path) -> None:
    def loss(steps: int) -> float:
        folder = str(warm_start(settings(tmp_path, steps=steps), world / "demonstrations.jsonl", FORMAT))
        policy = load_policy(folder, load_config(folder), "float32")
        tokenizer = load_tokenizer(folder)
        rows = [encode(d, FORMAT, tokenizer, False) for d in read_demonstrations(world / "demonstrations.jsonl")[:16]]
        ids, mask = DemonstrationBatches(rows, settings(tmp_path), 0)._batch(range(16))
        module = SFTModule(policy, settings(tmp_path), float(mask.sum()) / 16)
        with torch.no_grad():
            return float(module.training_step((ids, mask), 0))

    assert loss(150) < 0.5 * loss(1)


def test_a_token_weighs_the_same_in_a_batch_of_short_rows_and_in_one_of_long_rows(world: Path, tmp_path: Path) -> None:
    """Otherwise a policy learns to stop early more often than it was shown."""
    folder = str(warm_start(settings(tmp_path), world / "demonstrations.jsonl", FORMAT))
    module = SFTModule(load_policy(folder, load_config(folder), "float32"), settings(tmp_path), tokens_per_row=4.0)
    ids = torch.arange(20, 30)[None]

    def weight_of_third_token(learnt: int) -> float:
        mask = torch.zeros(1, 10, dtype=torch.bool)
        mask[0, 2 : 2 + learnt] = True
        module.zero_grad()
        only = torch.zeros(1, 10, dtype=torch.bool)
        only[0, 2] = True
        with torch.no_grad():
            rest = mask & ~only
            whole = float(module.training_step((ids, mask), 0))
            without = float(module.training_step((ids, rest), 0)) if rest.any() else 0.0
        return whole - without

    assert weight_of_third_token(1) == pytest.approx(weight_of_third_token(8), rel=1e-4)


def test_every_demonstration_is_seen_once_per_pass(tmp_path: Path) -> None:
    rows = [([number] * (1 + number % 7), [True] * (1 + number % 7)) for number in range(1, 25)]
    batches = list(DemonstrationBatches(rows, settings(tmp_path), 0))
    assert sorted(int(ids[row, 0]) for ids, _ in batches for row in range(len(ids))) == list(range(1, 25))


def test_missing_demonstrations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No demonstrations at .*nowhere"):
        warm_start(settings(tmp_path), tmp_path / "nowhere.jsonl", FORMAT)


def test_a_demonstration_longer_than_the_context_is_refused(world: Path, tmp_path: Path) -> None:
    short = WarmStart(shape=TinyPolicy(vocab_size=384, hidden_size=32, layers=1, context=32), cache=str(tmp_path))
    with pytest.raises(ValueError, match="longest demonstration"):
        warm_start(short, world / "demonstrations.jsonl", FORMAT)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"text": "?"},
        {"messages": [{"role": "user", "content": "?"}]},
        {"messages": [{"role": "assistant", "content": "a"}, {"role": "system", "content": "b"}]},
    ],
)
def test_a_row_that_is_no_conversation_is_named_by_file_and_line(row: dict[str, object], tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"d\.jsonl:2: expected"):
        read_demonstrations(path)


def test_tool_results_follow_the_turn_that_asked_for_them(tmp_path: Path) -> None:
    roles = ["user", "assistant", "tool", "tool", "assistant"]
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"messages": [{"role": r, "content": str(i)} for i, r in enumerate(roles)]}))
    (found,) = read_demonstrations(path)
    assert found == Demonstration(({"role": "user", "content": "0"},), (("1", ("2", "3")), ("4", None)))


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="warmstart needs"):
        WarmStart(**options)  # type: ignore[arg-type]


def test_a_shape_that_engines_cannot_run_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        TinyPolicy(vocab_size=500)
