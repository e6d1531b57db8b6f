"""The helpers of this folder on the path, and a saved collection of a few rollouts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from saved_rollouts import save_rollouts

from lightning_agentrl.rollout.bundle import Bundle, load


@pytest.fixture
def saved(tmp_path: Path) -> Bundle:
    return load(save_rollouts(tmp_path / "rollouts" / "epoch-0003"))
