"""Loading a Hugging Face causal language model, or building a tiny one from nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lightning_agentrl.scoring.attention import prefer_block_attention

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["float32", "bfloat16", "float16"]
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What autocast computes in, by `trainer.precision`."""


@dataclass(frozen=True)
class TinyPolicy:
    """Shape of a Qwen3 network small enough to learn on two CPU cores."""

    vocab_size: int = 512
    """Size of the byte-level BPE vocabulary, a multiple of 64 (engines pad it to that)."""
    hidden_size: int = 128
    """Width."""
    layers: int = 4
    """Depth."""
    context: int = 1024
    """Longest sequence in tokens."""

    def __post_init__(self) -> None:
        if self.vocab_size % 64 or self.hidden_size % 32:
            raise ValueError(
                f"vocab_size must be a multiple of 64 and hidden_size of 32 (the engine's head size), got "
                f"{self.vocab_size} and {self.hidden_size}."
            )

    def build(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """A randomly initialized network (from torch's global generator) for this tokenizer."""
        from transformers import Qwen3Config, Qwen3ForCausalLM

        heads = self.hidden_size // 32
        config = Qwen3Config(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=2 * self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2),
            head_dim=32,
            max_position_embeddings=self.context,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        return Qwen3ForCausalLM(config)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or hub id."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_checked(source))


def load_config(source: str) -> PretrainedConfig:
    """The architecture of a checkpoint folder or hub id, with every dropout switched off.

    The ratio of a policy to itself must be 1, so no forward may be random.
    """
    from transformers import AutoConfig

    config: PretrainedConfig = AutoConfig.from_pretrained(_checked(source))
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """A network of this architecture on the meta device: names and shapes, no memory."""
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        network: PreTrainedModel = build(copy.deepcopy(config))
    return network


def load_policy(source: str, config: PretrainedConfig, dtype: Dtype, **options: Any) -> PreTrainedModel:
    """The network of a checkpoint folder or hub id, with an attention that computes prefix trees if it can."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=getattr(torch, dtype), **options)
    network.train()  # no dropout is left, and in eval mode bitsandbytes repacks 4-bit weights for CPU kernels
    prefer_block_attention(network)
    return network


def _checked(source: str) -> str:
    """Give a missing folder a better error than a failed look-up on the hub."""
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") != 1
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"model.policy names the folder {source}, which holds no config.json.")
        return str(folder)
    if looks_like_path and "/" in source:
        raise ValueError(f"model.policy names the folder {source}, which does not exist.")
    return source
