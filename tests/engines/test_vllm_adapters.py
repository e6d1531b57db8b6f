"""Adapters in place of whole weights: each sync a fresh one, and nothing of the last one is used."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace

import pytest
import torch
from engine_cases import mismatch, prompt, run, sampling, setup_for, tiny_policy

from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.policy.lora import Lora, adapter_config, add_adapters, is_adapter, save_adapter, targeted

LORA = Lora(r=3, alpha=7)
PROMPTS = [prompt(length, seed=length) for length in (7, 40, 100)]


@pytest.fixture(scope="module")
def base():
    return tiny_policy()


@pytest.fixture(scope="module")
def engine(base):
    engine = VLLMEngine()
    engine.start(replace(setup_for(base), adapter_rank=LORA.r))
    engine.update_weights(base.state_dict().items(), 0)
    yield engine
    engine.close()


def swap(engine, base, folder, seed):
    """A policy with new adapters, which the engine gets from a folder that is gone afterwards."""
    policy = copy.deepcopy(base)
    add_adapters(policy, LORA, "tiny")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in policy.named_parameters():
        if is_adapter(name):
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    save_adapter(policy.state_dict(), adapter_config(LORA, targeted(LORA, base), "tiny"), folder)
    engine.update_adapter(folder, version=0)  # the same version each time: ids must not depend on it
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return policy


@pytest.mark.vllm
def test_every_swap_is_used_by_cached_prompts_too(engine, base, tmp_path):
    for seed in range(3):
        policy = swap(engine, base, tmp_path / "adapter", seed)
        for _ in range(2):  # the second time from the cache
            completions = run(engine, PROMPTS, [sampling(seed=i) for i in range(3)])
            gaps = [mismatch(policy, ids, out) for ids, out in zip(PROMPTS, completions, strict=True)]
            assert max(gaps) < 1e-4
            assert mismatch(base, PROMPTS[1], completions[1]) > 0.1
        assert completions[2].cached_tokens >= 64


@pytest.mark.vllm
def test_an_adapter_cannot_change_under_a_request(engine, base, tmp_path):
    policy = swap(engine, base, tmp_path / "adapter", 5)

    async def meanwhile():
        task = asyncio.create_task(engine.generate(prompt(20), sampling(200)))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="cannot change while requests"):
            await asyncio.to_thread(engine.update_adapter, tmp_path, 1)
        return await task

    assert mismatch(policy, prompt(20), asyncio.run(meanwhile())) < 1e-4


def test_ranks_and_dtypes_that_vllm_cannot_hold_are_refused_before_anything_starts():
    with pytest.raises(ValueError, match=r"up to rank 512, got model\.lora\.r=600"):
        VLLMEngine().check(torch.float32, 600)
    with pytest.raises(ValueError, match=r"dtype=float16, and the trainer computes in torch\.bfloat16"):
        VLLMEngine(engine_args={"dtype": "float16"}).check(torch.bfloat16, None)
    VLLMEngine(engine_args={"dtype": "bfloat16"}).check(torch.bfloat16, 512)
