"""A tiny random policy on disk, made in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.policy import TinyPolicy

TEXTS = (
    "say even",
    "say odd",
    "go on",
    "Who is the mentor of the mayor of Anra?",
    '{"name": "search", "arguments": {}}',
)


def tiny_policy(
    folder: Path, *, seed: int = 0, tied: bool = False, vocab_size: int = 320, hidden_size: int = 64
) -> str:
    """Save a random two-layer Qwen3 policy with its tokenizer to ``folder``, and return the folder's name."""
    tokenizer = train_tokenizer(TEXTS, vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TinyPolicy(vocab_size=vocab_size, hidden_size=hidden_size, layers=2, context=256).build(tokenizer)
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
