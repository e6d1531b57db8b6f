"""Several ranks: same counts, other shapes, and the steps that one rank makes, whoever holds the weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import unequal_ranks
from unequal_ranks import CASES, STEPS

from lightning_agentrl.testing import tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With two key-value heads, one for each rank of a team."""
    return tiny_policy(tmp_path_factory.mktemp("policy"), hidden_size=128)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what one, two and four ranks made of each case."""
    out = tmp_path_factory.mktemp("ranks")
    unequal_ranks.main(out)
    for ranks in (2, 4):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        command += [unequal_ranks.__file__, str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
    return out


TOGETHER = [(case, kind, ranks) for ranks in (2, 4) for case in CASES for kind in CASES[case].strategies(ranks)]


@pytest.mark.parametrize(("case", "strategy", "ranks"), TOGETHER)
def test_ranks_together_make_the_steps_of_one(trained: Path, case: str, strategy: str, ranks: int) -> None:
    alone, together = (torch.load(trained / f"{case}-{kind}.pt") for kind in ("one-1", f"{strategy}-{ranks}"))
    assert len(alone["gradients"]) == len(together["gradients"]) == STEPS
    for one, two in zip(alone["gradients"], together["gradients"], strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert (one[name] - two[name]).norm() <= 1e-5 * one[name].norm(), name
    for name, gradient in alone["gradients"][-1].items():  # in the first, those of adapters are zero
        assert gradient.norm() > 0, name
    for name, tensor in alone["weights"].items():
        assert (tensor - together["weights"][name]).abs().max() <= 1e-6, name
    for number in ("loss", "norm"):
        assert_close(alone[number], together[number])


def test_between_steps_a_rank_holds_parts_alone(trained: Path) -> None:
    for case in ("trees", "padded_rows", "reference", "tied"):
        assert torch.load(trained / f"{case}-fsdp2-2.pt")["whole"] == []
    for case in ("trees", "reference", "tied"):
        assert torch.load(trained / f"{case}-fsdp2_tp-2.pt")["whole"] == []


def test_a_checkpoint_of_other_adapters_is_refused_on_all_ranks(trained: Path) -> None:
    for rank in (0, 1):
        assert "does not fit this policy" in (trained / f"refusal-{rank}.txt").read_text()


def test_an_engine_that_is_wrong_on_one_rank_stops_all_of_them(trained: Path) -> None:
    first, second = ((trained / f"parity-{rank}.txt").read_text() for rank in (0, 1))
    assert "differ from the trainer's by up to 1.00e+00" in first
    assert first == second


def assert_close(one: Any, two: Any) -> None:
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


RUN = [
    *(sys.executable, "-m", "lightning_agentrl", "fit", "-c", "base", "--trainer.devices", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.check_val_every_n_epoch", "1", "--bundles.every_n_epochs", "1"),
    *("--data.environment", "lightning_agentrl.testing.ToyEnvironment", "--data.prompts_per_epoch", "4"),
    *(
        "--data.group_size",
        "2",
        "--data.max_turn_tokens",
        "6",
        "--data.max_model_len",
        "128",
        "--data.minibatches",
        "2",
    ),
]


def fit(folder: Path, policy: str, strategy: str, epochs: int, *more: str) -> Path:
    """Train on two ranks, and return the folder that the ranks agreed on."""
    command = [*RUN, "-c", f"strategy/{strategy}", "--model.policy", policy, "--trainer.max_epochs", str(epochs), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MEMBER: 2/2" in done.stderr
    return max((folder / "runs" / "agentrl").iterdir())


HALF = [
    *("--model.dtype", "bfloat16", "--model.lora.r", "4", "--model.kl_coefficient", "0.1"),
    *("--model.gradient_checkpointing", "true", "--model.float32_head", "true", "--trainer.precision", "bf16-mixed"),
    *("--model.optimizer.init_args.fused", "true"),
]
"""Adapters in float32 on weights in bfloat16, as recipes for GPUs have them."""


FULL = [word for word in HALF if word not in ("--model.lora.r", "4")]


@pytest.mark.parametrize(
    ("strategy", "more"), [("ddp", []), ("fsdp2", HALF), ("fsdp2_tp", FULL)], ids=["ddp", "fsdp2", "fsdp2_tp"]
)
@pytest.mark.filterwarnings("ignore:model.dtype")
def test_the_command_line_trains_on_two_ranks(policy: str, tmp_path: Path, strategy: str, more: list[str]) -> None:
    run = fit(tmp_path, policy, strategy, 2, "-c", "engine/transformers", *more)
    assert [path.name for path in (tmp_path / "runs" / "agentrl").iterdir()] == ["version_0"]
    assert {path.name for path in (run / "rollouts").iterdir()} == {"epoch-0000", "epoch-0001"}
    (state,) = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    assert state["state"], "the optimizer's state is saved whole"


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("strategy", "more"),
    [("fsdp2", ()), ("fsdp2", ("--model.lora.r", "4", "--model.kl_coefficient", "0.1")), ("fsdp2_tp", ())],
    ids=["full", "lora", "slices"],
)
def test_parts_of_a_policy_reach_vllm_on_both_ranks_also_after_resuming(
    policy: str, tmp_path: Path, strategy: str, more: tuple[str, ...]
) -> None:
    """Each rank compares its engine with the trainer after every sync, to 1e-4 nats."""
    run = fit(tmp_path, policy, strategy, 1, *more)
    run = fit(tmp_path, policy, strategy, 2, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), *more)
    assert [path.name for path in (run / "rollouts").iterdir()] == ["epoch-0001"]
