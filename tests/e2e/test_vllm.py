"""The command line with real vLLM rollouts, as a user types it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_agentrl.credit.gains import information_gains
from lightning_agentrl.rollout import bundle

SMALL = [
    *("--warmstart.steps", "60"),
    *("--data.prompts_per_epoch", "4", "--data.group_size", "4"),
    *("--data.environment.init_args.max_validation_tasks", "8"),
    *("--trainer.check_val_every_n_epoch", "1", "--transcripts.every_n_epochs", "1"),
]


def agentrl(folder: Path, *arguments: str, timeout: float = 600) -> str:
    """Run the command in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "lightning_agentrl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run")
    return folder, agentrl(folder, "quickstart", *SMALL, "--trainer.max_epochs", "2", "--bundles.every_n_epochs", "1")


def scalars(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


@pytest.mark.vllm
def test_a_run_prints_before_and_after_and_where_to_look(run: tuple[Path, str]) -> None:
    _, said = run
    for text in ("before", "after", "success", "time by phase", "tensorboard --logdir runs", "transcripts"):
        assert text in said


@pytest.mark.vllm
def test_a_run_logs_every_group_of_scalars_and_agrees_with_the_engine(run: tuple[Path, str]) -> None:
    folder, _ = run
    events = scalars(folder / "runs" / "agentrl" / "version_0")
    names = events.Tags()["scalars"]
    for group in ("reward", "rollout", "credit", "policy", "tool", "time", "val"):
        assert any(name.startswith(f"{group}/") for name in names), group
    assert [point.step for point in events.Scalars("val/success")] == [0, 0, 1]  # before; after epochs 1 and 2
    assert "_hparams_/session_start_info" in events.summary_metadata
    for name in ("policy/parity_gap", "policy/mismatch_max"):
        assert max(point.value for point in events.Scalars(name)) <= 1e-4
    assert {point.value for point in events.Scalars("policy/ratio_deviation")} == {0.0}


@pytest.mark.vllm
def test_a_run_leaves_transcripts_rollouts_settings_and_checkpoints(run: tuple[Path, str]) -> None:
    folder = run[0] / "runs" / "agentrl" / "version_0"
    assert list((folder / "transcripts").glob("train-*.md"))
    assert (folder / "config.yaml").is_file()
    assert "algorithm/credit: GRPO" in (folder / "hparams.yaml").read_text()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    batch = bundle.load(folder / "rollouts" / "epoch-0001").batch
    assert len(batch) == 16


@pytest.mark.vllm
def test_a_second_run_finds_world_and_policy_and_resumes(run: tuple[Path, str]) -> None:
    folder, _ = run
    checkpoint = folder / "runs" / "agentrl" / "version_0" / "checkpoints" / "last.ckpt"
    said = agentrl(folder, "quickstart", *SMALL, "--trainer.max_epochs", "3", "--ckpt_path", str(checkpoint))
    assert "warm start: step" not in said
    assert re.findall(r"epoch (\d)/3", said) == ["3"]
    steps = [point.step for point in scalars(folder / "runs" / "agentrl" / "version_1").Scalars("reward/mean")]
    assert steps == [2]


@pytest.mark.vllm
def test_information_gain_is_scored_on_real_rollouts_and_telescopes(run: tuple[Path, str]) -> None:
    """AEM over A²TGPO: the whole chain of signals, on the policy that the first run warm-started."""
    folder, _ = run
    options = [
        "-c",
        "base",
        "-c",
        "algorithm/aem_a2tgpo",
        "-c",
        "quickstart",
        *SMALL,
        "--bundles.every_n_epochs",
        "1",
    ]
    said = agentrl(folder, "fit", *options, "--trainer.max_epochs", "1", "--trainer.logger.init_args.version", "7")
    assert "warm start: step" not in said
    folder = folder / "runs" / "agentrl" / "version_7"
    names = set(scalars(folder).Tags()["scalars"])
    assert {"credit/missing_gains", "credit/alpha_token_mean", "credit/hidden_bonus_turn_1"} <= names
    batch = bundle.load(folder / "rollouts" / "epoch-0000").batch
    assert batch.answer_logprobs is not None
    known = batch.answer_logprobs.isfinite()
    assert torch.equal(known, batch.turn_ends >= 0)
    first, last = batch.answer_logprobs[:, 0], batch.answer_logprobs.gather(1, known.sum(1, keepdim=True) - 1)[:, 0]
    torch.testing.assert_close(information_gains(batch, "log").values.sum(1), last - first)


@pytest.mark.vllm
@pytest.mark.parametrize("name", ["arpo", "appo"])
def test_branches_start_from_the_prefix_cache_and_spend_the_budget(name: str, run: tuple[Path, str]) -> None:
    """On the policy that the first run warm-started: exactly M leaves, forks token for token, prefixes cached."""
    options = ["-c", "base", "-c", f"algorithm/{name}", "-c", "quickstart", *SMALL, "--bundles.every_n_epochs", "1"]
    options += ["--data.minibatches", "2", "--trainer.max_epochs", "1", "--trainer.logger.init_args.version", name]
    if name == "appo":  # in a second wave of the same weights: after a step, nothing of the cache is true any more
        options += ["--data.branching.source", "entropy"]
    agentrl(run[0], "fit", *options)
    folder = run[0] / "runs" / "agentrl" / name
    assert {"branch/share", "tool/saved"} <= set(scalars(folder).Tags()["scalars"])
    saved = bundle.load(folder / "rollouts" / "epoch-0000")
    records, batch = saved.records, saved.batch
    assert batch.group_ids.bincount(minlength=4).tolist() == [4] * 4
    assert len(set(batch.trajectory_ids.tolist())) == 16
    assert batch.parent_ids is not None
    assert batch.inherited is not None
    rows = {int(id): row for row, id in enumerate(batch.trajectory_ids)}
    branches = (batch.parent_ids >= 0).nonzero()[:, 0].tolist()
    assert branches
    for row in branches:
        parent, column = rows[int(batch.parent_ids[row])], int(batch.inherited[row])
        assert torch.equal(batch.input_ids[row, :column], batch.input_ids[parent, :column])
        assert torch.equal(batch.sampling_logprobs[row, :column], batch.sampling_logprobs[parent, :column])
        turn = int(batch.turn_ids[row, column])
        assert records[row]["turns"][turn]["cached_tokens"] >= column // 32 * 32 - 32  # whole blocks, less the last


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_quick_start_learns(seed: int, tmp_path: Path) -> None:
    """The README's promise: from mediocre to at least 0.8, in every seed."""
    said = agentrl(tmp_path, "quickstart", "--seed_everything", str(seed), timeout=1200)
    before, after = (float(number) for number in re.findall(r"success │ (\d\.\d+) .*?│ (\d\.\d+)", said)[0])
    assert 0.2 <= before <= 0.55
    assert after >= 0.8
    assert after - before >= 0.4
