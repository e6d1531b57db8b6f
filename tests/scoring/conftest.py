"""Helpers of this folder on the path; random policies for all of it."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from lightning_agentrl.policy import load_config, load_policy
from lightning_agentrl.scoring import block_attention
from lightning_agentrl.testing import tiny_policy

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small trees of these tests have several."""
    monkeypatch.setattr(block_attention, "BLOCK", 8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def policy(folder: str) -> PreTrainedModel:
    """With weights four times as large as a fresh policy's: what a token sees and where must move its log-prob."""
    network = load_policy(folder, load_config(folder), "float32").train()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
    return network
