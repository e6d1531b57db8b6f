"""A tokenizer without a policy, and the helpers of this folder on the path."""

import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="package")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["Count.", "heard", '{"name": "echo", "arguments": {"text": "hi"}}'] * 2, 320)
