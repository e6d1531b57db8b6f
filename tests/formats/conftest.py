"""Tokenizers that speak the Hermes dialect."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import CHAT_TEMPLATE, train_tokenizer

TEXTS = ['{"name": "search", "arguments": {"query": "mentor of Anra"}}', "The mentor of Anra is Bodor."] * 10


@pytest.fixture(scope="package")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 384)


@pytest.fixture(scope="package")
def qwen_like(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Tags are tokens but not special ones, as in Qwen's tokenizers."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    for added in described["added_tokens"]:
        added["special"] = added["content"].startswith("<|")
    backend = Tokenizer.from_str(json.dumps(described))
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = CHAT_TEMPLATE
    return made
