"""Tokenizers that speak the Hermes dialect."""

import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import CHAT_TEMPLATE, train_tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # the dialects of this folder
from dialects import TEXTS, speaking


@pytest.fixture(scope="package")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 384)


@pytest.fixture(scope="package")
def qwen_like() -> PreTrainedTokenizerFast:
    """Tags are tokens but not special ones, as in Qwen's tokenizers."""
    return speaking(CHAT_TEMPLATE, special_tags=False)
