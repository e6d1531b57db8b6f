"""One random policy for all runs; helpers on the path."""

import sys
from pathlib import Path

import pytest

from lightning_agentrl.testing import tiny_policy

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))
