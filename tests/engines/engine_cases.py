"""Tiny random policies, the engines under test, and what the trainer says about an engine's completions."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config

from lightning_agentrl.engines.base import Completion, EngineSetup, RolloutEngine, SamplingParams
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.engines.vllm import VLLMEngine

TEMPERATURE = 0.7
CONTEXT = 512
ENGINES = [
    pytest.param(TransformersEngine, id="transformers"),
    pytest.param(VLLMEngine, id="vllm", marks=pytest.mark.vllm),
]


def tiny_policy(kind: type = Qwen3Config, tied: bool = False, seed: int = 0) -> PreTrainedModel:
    """A random causal LM with 256 tokens, half of which its config calls ends of a text."""
    sizes = {"head_dim": 32} if kind is Qwen3Config else {}
    config = kind(
        vocab_size=256,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=128,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        eos_token_id=list(range(128)),
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    perturb(model, seed)
    return model.eval().requires_grad_(False)


def perturb(model: PreTrainedModel, seed: int) -> None:
    """Move every weight, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def setup_for(policy: PreTrainedModel, temperature: float = TEMPERATURE) -> EngineSetup:
    """What an engine for this policy is told."""
    return EngineSetup(policy.config, torch.float32, torch.device("cpu"), CONTEXT, temperature)


def hexadecimal() -> PreTrainedTokenizerFast:
    """A tokenizer for the policy's 256 tokens, each of which is written as two digits; "7e" is a special one."""
    backend = Tokenizer(models.BPE({f"{token:02x}": token for token in range(256)}, []))
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=["7e"])


def sampling(
    max_tokens: int = 16, seed: int | None = 0, temperature: float = TEMPERATURE, **more: Any
) -> SamplingParams:
    """Sampling without a stop token."""
    return SamplingParams(max_tokens, temperature, stop_token_ids=(), seed=seed, **more)


def prompt(length: int, seed: int = 0) -> list[int]:
    """Random token ids."""
    return random.Random(seed).choices(range(256), k=length)


def run(engine: RolloutEngine, prompts: Sequence[list[int]], params: Sequence[SamplingParams]) -> list[Completion]:
    """Completions of prompts that are asked for at once."""

    async def gather() -> list[Completion]:
        return await asyncio.gather(*[engine.generate(p, s) for p, s in zip(prompts, params, strict=True)])

    return asyncio.run(gather())


def trainer_logprobs(model: PreTrainedModel, ids: list[int], completion: Completion, temperature: float) -> Tensor:
    """Full distributions [tokens, 256] at the completion's tokens, from one forward of the trainer's model."""
    with torch.no_grad():
        logits = model(torch.tensor([ids + list(completion.token_ids)])).logits[0, len(ids) - 1 : -1].float()
    return torch.log_softmax(logits / temperature, -1)


def mismatch(model: PreTrainedModel, ids: list[int], completion: Completion, temperature: float = TEMPERATURE) -> float:
    """Largest difference between engine and trainer log-probs."""
    theirs = trainer_logprobs(model, ids, completion, temperature)
    chosen = theirs.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    return (chosen - torch.tensor(completion.logprobs)).abs().max().item()


def global_state() -> dict[str, object]:
    """Everything of the host process that an engine must leave alone."""
    return {
        "environment": dict(os.environ),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "set_num_threads": torch.set_num_threads,
        "precision": torch.get_float32_matmul_precision(),
        "process group": torch.distributed.is_initialized(),
    }
