"""Fair timing on a noisy machine: candidates take turns; compared are medians of one run, with quartiles."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from lightning_agentrl.scoring.attention import prefer_block_attention

Seconds = dict[str, list[float]]


def common(parser: ArgumentParser) -> Namespace:
    """Parse what both benchmarks of trees take, and set threads and seed."""
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for the raw seconds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def alternate(candidates: Mapping[str, Callable[[], object]], repeats: int) -> Seconds:
    """Seconds of each candidate in each of so many rounds A B C, A B C, …; one more round before them is dropped."""
    seconds: Seconds = {name: [] for name in candidates}
    for number in range(repeats + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float], unit: str = "") -> str:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.2f}{unit} [{low:.2f}–{high:.2f}]"


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Round by round: what slows down a round slows down both."""
    return [one / other for one, other in zip(over, under, strict=True)]


def qwen3(hidden: int, layers: int, attention: str) -> PreTrainedModel:
    """A random Qwen3 network with a small vocabulary, so that the body is what costs."""
    network = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=512,
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=hidden // 128,
            head_dim=64,
            max_position_embeddings=4096,
            attn_implementation="sdpa",
        )
    )
    prefer_block_attention(network)
    network.set_attn_implementation(attention)
    return network
