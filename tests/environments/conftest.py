"""Helpers on the path, and the games that several files play."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lightning_agentrl.environments.text_games import TextPrompt
from lightning_agentrl.environments.textworld import TextWorldGames
from lightning_agentrl.environments.textworld.demonstrations import TextDemonstrator
from lightning_agentrl.environments.textworld.game_set import GameSet


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
