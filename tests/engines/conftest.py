"""Fixtures: the trainer's tiny policy, and an engine that holds its weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from lightning_agentrl.engines.base import RolloutEngine

sys.path.insert(0, str(Path(__file__).parent))  # the helpers below are shared with a script that runs under torchrun
from engine_cases import ENGINES, setup_for, tiny_policy


@pytest.fixture(scope="module")
def policy() -> PreTrainedModel:
    """The trainer's policy; tests of a module share it and may perturb it."""
    return tiny_policy()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, policy: PreTrainedModel) -> Iterator[RolloutEngine]:
    """A started engine that holds the weights of ``policy``."""
    engine: RolloutEngine = request.param()
    engine.start(setup_for(policy))
    engine.update_weights(policy.state_dict().items(), version=0)
    yield engine
    engine.close()
