"""The commands of README and tutorials do what they say: each is run, small, one after the other in one folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ALGORITHMS, PAGES, commands, write_files

from lightning_agentrl.cli import AgentRLCLI, _run
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.testing.policy import TEXTS

QUICK = shlex.split(
    "--data.engine TransformersEngine --data.prompts_per_epoch 8 --data.group_size 4 --data.max_turns 2 "
    "--data.max_turn_tokens 6 --data.max_model_len 8000 --trainer.max_epochs 1 --trainer.accelerator cpu "
    "--trainer.num_sanity_val_steps 0 --trainer.limit_val_batches 0 --checkpoint.monitor null "
    "--credit_figures.every_n_epochs 0 --model.gradient_checkpointing false"
)
"""For any of them."""
NEEDS = ("my_data", "environment/alfworld", "environment/textworld", "nf4", "my_package.guess", "fsdp2_tp")
"""Not run here: own files, a package that compiles for minutes, games that are made for minutes, bits that need
CUDA, OpenEnv, two ranks (`test_ranks.py` has them)."""
SAVED = ("recredit", "view")
MANUAL = [page for page in PAGES if page not in ALGORITHMS]  # tests/e2e/test_algorithms.py runs the recipes
FITS = [
    pytest.param(arguments, id=f"{page.stem}: {' '.join(arguments)}")
    for page in MANUAL
    for command, *arguments in commands(page)
    if command == "fit" and not any(word in " ".join(arguments) for word in NEEDS)
]
LOOKS = [
    pytest.param(command, arguments, id=f"{page.stem}: {command} {' '.join(arguments)}")
    for page in MANUAL
    for command, *arguments in commands(page)
    if command in SAVED
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files that the pages show, and the data that one of them makes."""
    home = write_files(tmp_path_factory.mktemp("reader"))
    subprocess.run([sys.executable, "-m", "my_package.questions"], cwd=home, check=True)
    return home


@pytest.fixture(scope="module")
def long_policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random policy with room for every prompt."""
    home = tmp_path_factory.mktemp("policy")
    tokenizer = train_tokenizer(TEXTS, 320)
    TinyPolicy(vocab_size=320, hidden_size=32, layers=1, context=8192).build(tokenizer).save_pretrained(home)
    tokenizer.save_pretrained(home)
    return str(home)


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "argv", ["agentrl"])


@pytest.fixture(scope="module")
def runs(folder: Path, long_policy: str) -> None:
    """`runs/agentrl/version_0` and `version_1`, as the quick start leaves them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["agentrl"])
        for _ in range(2):
            layers = ["-c", "base", "-c", "environment/made_up_world", "-c", "quickstart"]
            AgentRLCLI(["fit", *layers, *QUICK, "--trainer.max_epochs", "6", "--model.policy", long_policy])


@pytest.mark.parametrize(("command", "arguments"), LOOKS)
def test_saved_rollouts_are_looked_into(command: str, arguments: list[str], runs: None) -> None:
    _run(command, arguments)


@pytest.mark.parametrize("arguments", FITS)
def test_a_command_trains(arguments: list[str], long_policy: str, runs: None) -> None:
    if "--print_config" not in arguments:
        cli = AgentRLCLI(["fit", *arguments, *QUICK, "--model.policy", long_policy])
        assert cli.trainer.global_step > 0
