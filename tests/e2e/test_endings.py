"""However a run ends, nothing of it is left: no process, no listening port, no shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [
    *(sys.executable, "-m", "lightning_agentrl", "fit", "-c", "base", "-c", "environment/math_python"),
    *("-c", "engine/transformers", "--trainer.accelerator", "cpu", "--trainer.logger", "false"),
    *("--trainer.num_sanity_val_steps", "0", "--trainer.check_val_every_n_epoch", "100"),
    *("--data.prompts_per_epoch", "1", "--data.group_size", "2"),
    *("--data.max_turns", "1", "--data.max_turn_tokens", "4", "--data.max_model_len", "200"),
    *("--data.environment.init_args.generate.demonstrations", "8"),
    *("--data.environment.init_args.generate.problems", "8"),
]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["normal", "exception", "SIGTERM", "SIGINT"])
def test_nothing_is_left_of_a_run_with_a_sandbox(policy: str, tmp_path: Path, ending: str) -> None:
    shared = set(os.listdir("/dev/shm"))
    more = {
        "normal": ["--trainer.max_epochs", "1"],
        "exception": ["--trainer.max_epochs", "1", "--data.parity_tolerance", "1e-30"],
    }.get(ending, ["--trainer.max_epochs", "100000"])
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(
            [*COMMAND, "--model.policy", policy, *more],
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    started: dict[int, psutil.Process] = {}
    told = False
    deadline = time.monotonic() + 240
    while run.poll() is None and time.monotonic() < deadline:
        started |= {child.pid: child for child in children(run.pid)}
        if not told and ending.startswith("SIG") and "epoch 2/" in (tmp_path / "said").read_text():
            run.send_signal(signal.Signals[ending])
            told = True
        time.sleep(0.05)
    text = (tmp_path / "said").read_text()
    assert run.poll() is not None, text[-2000:]
    if ending != "SIGTERM":  # Lightning takes it for a wish, and leaves with 0
        assert (run.returncode == 0) == (ending == "normal"), text[-2000:]
    assert told == ending.startswith("SIG"), text[-2000:]
    assert ("log-probs differ" in text) == (ending == "exception")
    assert started, "the sandbox should have been seen"
    _, alive = psutil.wait_procs(started.values(), timeout=5)
    assert not alive
    assert set(os.listdir("/dev/shm")) <= shared


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
