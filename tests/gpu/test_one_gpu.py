"""Whole runs on one GPU that trainer and engine share, with random weights of Qwen's shape; one process each.

``pytest -m gpu tests/gpu`` needs a CUDA device and vLLM and nothing else. Each run prints memory, seconds per phase and
the gap between engine and trainer (``pytest -rP`` shows it).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_agentrl.testing import tiny_policy

DEVICE = os.environ.get("AGENTRL_TEST_DEVICE", "gpu")
SHARED = ["--data.engine.enable_sleep_mode", "true", "--data.engine.gpu_memory_utilization", "0.3"]
RUNS = {
    "float32": ["--trainer.precision", "32-true"],
    "autocast": ["--trainer.precision", "bf16-mixed", *SHARED],
    "checkpointing": ["--trainer.precision", "bf16-mixed", "--model.gradient_checkpointing", "true", *SHARED],
    "float32_head": ["--trainer.precision", "bf16-mixed", "--model.float32_head", "true", *SHARED],
    "lora": ["--trainer.precision", "bf16-mixed", "--model.dtype", "bfloat16", "--model.lora.r", "8", *SHARED],
    "lora_alone": ["--trainer.precision", "bf16-mixed", "--model.lora.r", "8", "--model.lora.sync", "adapter"],
    "fsdp2": ["--trainer.precision", "32-true", "-c", "strategy/fsdp2"],
    "information_gain": ["--trainer.precision", "bf16-mixed", "-c", "algorithm/a2tgpo", *SHARED],
    "branches": ["--trainer.precision", "bf16-mixed", "-c", "algorithm/arpo", *SHARED],
}
TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 0.3}
"""Largest |log-prob of the engine − of the trainer|, in nats: kernels of a GPU round otherwise than each other."""


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_and_engine_and_trainer_agree(name: str, tmp_path: Path) -> None:
    options = RUNS[name]
    tolerance = TOLERANCE[options[1]]
    command = [
        *(sys.executable, "-m", "lightning_agentrl", "fit", "-c", "base"),
        *("--trainer.accelerator", DEVICE, "--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2"),
        *("--model.policy", tiny_policy(tmp_path / "policy")),
        *("--data.environment", "lightning_agentrl.testing.ToyEnvironment", "--data.parity_tolerance", str(tolerance)),
        *("--data.prompts_per_epoch", "8", "--data.group_size", "4", "--data.max_turn_tokens", "8"),
        *("--data.max_model_len", "256", *options, "--trainer.devices", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=tmp_path)
    print(done.stdout)  # noqa: T201
    assert done.returncode == 0, done.stderr[-4000:]
    (run,) = (tmp_path / "runs" / "agentrl").iterdir()
    events = EventAccumulator(str(run)).Reload()
    gaps = [event.value for event in events.Scalars("policy/parity_gap")]
    assert len(gaps) >= 2
    assert max(gaps) <= tolerance
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
