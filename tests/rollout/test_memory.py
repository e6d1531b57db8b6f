"""Memory is said before anything loads, and refused where it is not there."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.engines.vllm import CPU_KV_CACHE_BYTES, VLLMEngine
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.rollout.memory import refuse, table
from lightning_agentrl.testing import ToyEnvironment, tiny_policy
from lightning_agentrl.types import Holding

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


def test_what_is_certain_must_fit_and_an_estimate_need_not() -> None:
    held = [Holding("weights", 3 * GIB), Holding("engine's weights", 2 * GIB), Holding("activations", 9 * GIB, False)]
    refuse(held, CUDA, 5 * GIB)
    with pytest.raises(ValueError, match=r"cuda has 4\.9 GiB free .* holds 5\.0 GiB .* weights 3\.0 GiB, engine"):
        refuse(held, CUDA, int(4.9 * GIB))


def test_the_table_has_a_line_for_each_and_their_sum() -> None:
    said = table([Holding("weights", 3 * GIB), Holding("activations", GIB // 8, False)], CUDA, 5 * GIB)
    lines = [line.split() for line in said.splitlines()]
    assert lines[1] == ["weights", "3.0", "GiB"]
    assert lines[2] == ["activations", "about", "128.0", "MiB"]
    assert lines[3] == ["together", "about", "3.1", "GiB,", "5.0", "GiB", "free"]


def test_engines_say_what_they_hold() -> None:
    assert TransformersEngine().holdings(7, CPU, 100) == [Holding("engine's weights", 7)]
    assert sum(h.size for h in VLLMEngine().holdings(7, CPU, 100)) == 7 + CPU_KV_CACHE_BYTES
    assert sum(h.size for h in VLLMEngine(gpu_memory_utilization=0.25).holdings(GIB, CUDA, 80 * GIB)) == 20 * GIB
    with pytest.raises(ValueError, match=r"0\.25 gives the engine 6\.0 of 24\.0 GiB; the .* alone take 8\.0 GiB"):
        VLLMEngine(gpu_memory_utilization=0.25).holdings(8 * GIB, CUDA, 24 * GIB)


def run(policy: str, folder: Path) -> AgentRLModule:
    model = AgentRLModule(policy=policy)
    data = AgentRLDataModule(ToyEnvironment(), TransformersEngine(), HermesFormat(), max_model_len=128)
    Trainer(max_epochs=0, accelerator="cpu", default_root_dir=folder, logger=False, enable_checkpointing=False).fit(
        model, datamodule=data
    )
    return model


def test_a_run_says_it_before_the_policy_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lightning_agentrl"):
        run(tiny_policy(tmp_path), tmp_path)
    (said,) = [text for text in caplog.messages if text.startswith("memory on cpu")]
    for what in (
        "weights, float32",
        "gradients",
        "optimizer's state",
        "activations of 16384 tokens",
        "engine's weights",
    ):
        assert what in said


def test_a_policy_beyond_all_memory_is_refused_without_its_weights_being_there(tmp_path: Path) -> None:
    """Terabytes: only config and tokenizer exist, so that any attempt to load would fail in another way."""
    folder = Path(tiny_policy(tmp_path))
    config = json.loads((folder / "config.json").read_text())
    huge = {"hidden_size": 65536, "intermediate_size": 262144, "num_attention_heads": 512, "num_key_value_heads": 512}
    (folder / "config.json").write_text(json.dumps(config | huge | {"head_dim": 128}))
    for file in folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match=r"cpu has .* GiB free and this run holds \d{4,}\.\d GiB there"):
        run(str(folder), tmp_path)
