"""LoRA with real vLLM: rollouts by merged weights and by adapters, and exported folders in a plain vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import data, module, trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.policy import Lora
from lightning_agentrl.policy.export import export

IDS = [5 * n % 300 for n in range(40)]

PLAIN_VLLM = """
import json, os, sys
os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_PLUGINS="", TORCH_COMPILE_DISABLE="1", HF_HUB_OFFLINE="1",
                  VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", VLLM_LOGGING_LEVEL="ERROR")
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
model, adapter, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
llm = LLM(model=model, dtype="float32", enforce_eager=True, max_model_len=128, max_num_seqs=2, block_size=32,
          kv_cache_memory_bytes=64 << 20, enable_lora=bool(adapter), max_lora_rank=8)
request = LoRARequest("adapter", 1, adapter) if adapter else None
(output,) = llm.generate([{"prompt_token_ids": ids}], SamplingParams(max_tokens=8, temperature=1.0, seed=0, logprobs=0,
                         ignore_eos=True), lora_request=request, use_tqdm=False)
said = output.outputs[0]
print(json.dumps([list(said.token_ids), [step[token].logprob for step, token in zip(said.logprobs, said.token_ids)]]))
"""


def served(model: Path | str, adapter: Path | str = "") -> tuple[list[int], list[float]]:
    """Tokens and log-probs of a vLLM that knows nothing of us."""
    command = [sys.executable, "-c", PLAIN_VLLM, str(model), str(adapter), json.dumps(IDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    tokens, logprobs = json.loads(done.stdout.strip().splitlines()[-1])
    return tokens, logprobs


@pytest.mark.vllm
@pytest.mark.parametrize("sync", ["merge", "adapter"])
def test_a_run_agrees_with_vllm_and_its_exports_do(policy: str, tmp_path: Path, sync: str) -> None:
    lora = Lora(r=5, sync=sync)  # type: ignore[arg-type]
    model = module(policy, lora=lora, lr=3e-2)
    saver = ModelCheckpoint(tmp_path, save_last=True)
    runner = trainer(tmp_path, saver, max_epochs=3, enable_checkpointing=True)
    runner.fit(model, datamodule=data(engine=VLLMEngine(max_num_seqs=16)))
    assert runner.callback_metrics["policy/parity_gap"] <= 1e-4
    assert runner.callback_metrics["policy/ratio_deviation"] == 0
    assert runner.callback_metrics["policy/mismatch_max"] <= 1e-4
    drift = max((p.abs().max() for name, p in model.network.named_parameters() if "lora_B" in name))
    assert drift > 0.01

    if sync == "merge":
        export(tmp_path / "last.ckpt", tmp_path / "out")
        tokens, logprobs = served(tmp_path / "out")
    else:
        export(tmp_path / "last.ckpt", tmp_path / "out", adapter=True)
        tokens, logprobs = served(policy, tmp_path / "out")
    with torch.no_grad():
        logits = model.network(torch.tensor([IDS + tokens])).logits[0, len(IDS) - 1 : -1]
    ours = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(logprobs), ours, atol=1e-4, rtol=0)  # two implementations of float32
