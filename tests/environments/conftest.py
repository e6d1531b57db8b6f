"""Helpers on the path, and the games that several files play."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from problems import SMALL

from lightning_agentrl.environments.math_data import write_problems
from lightning_agentrl.environments.text_games import TextPrompt
from lightning_agentrl.environments.textworld import TextWorldGames
from lightning_agentrl.environments.textworld.demonstrations import TextDemonstrator
from lightning_agentrl.environments.textworld.game_set import GameSet
from lightning_agentrl.tools.python import PythonTool
from lightning_agentrl.tools.sandbox import SandboxUnavailable


@pytest.fixture(scope="session")
def text_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextWorldGames]:
    """Four games that TextWorld made, and demonstrations of one of them."""
    pytest.importorskip("textworld")
    brief = TextPrompt(first="{observation}\n{commands}", later="{observation}\n{commands}", detail="first_line")
    demonstrator = TextDemonstrator(count=40, lazy=0.5, noise=0.2, turns=4)
    games = GameSet(levels=(2,), train=2, validation=1, demonstrations=1)
    world = TextWorldGames(tmp_path_factory.mktemp("games"), games, brief, demonstrator=demonstrator)
    world.prepare()
    yield world
    world.close()


@pytest.fixture(scope="session")
def math_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few generated problems."""
    out = tmp_path_factory.mktemp("data") / "math"
    write_problems(SMALL, out)
    return out


@pytest.fixture(scope="module")
def python() -> Iterator[PythonTool]:
    """A sandboxed interpreter."""
    try:
        made = PythonTool()
    except SandboxUnavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.close()
