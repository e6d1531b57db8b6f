"""ALFWorld's games: found, described, and (where the package is installed) played."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alfworld_kitchen import write_game, write_kitchens
from text_worlds import Corridor

from lightning_agentrl.environments.alfworld import ALFWorldGames
from lightning_agentrl.environments.alfworld_data import Game, find_games, open_games
from lightning_agentrl.environments.workers import WorkerPool, Workers
from lightning_agentrl.types import Action, Segment, Task, Trajectory

HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Training games that nobody can play: files alone."""
    write_kitchens(tmp_path)
    return tmp_path / "json_2.1.1" / "train"


def change(root: Path, kind: str, **values: Any) -> None:
    (file,) = root.glob(f"{kind}*/*/game.tw-pddl")
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# --- finding them ---------------------------------------------------------------------------------------------------


def test_games_are_found_with_their_types(root: Path) -> None:
    assert {game.type for game in find_games(root, [HEAT, COOL])} == {HEAT, COOL}


def test_types_that_were_not_asked_for_are_left_out(root: Path) -> None:
    assert [game.type for game in find_games(root, [COOL])] == [COOL]


@pytest.mark.parametrize("values", [{"solvable": False}, {"solvable": None}])
def test_games_that_are_not_known_to_be_solvable_are_left_out(root: Path, values: dict[str, Any]) -> None:
    change(root, HEAT, **values)
    assert [game.type for game in find_games(root, [HEAT, COOL])] == [COOL]


@pytest.mark.parametrize("name", ["pick_two_obj_and_place-AppleSliced-None-Fridge-1", "movable-Mug-None-Fridge-1"])
def test_kinds_that_alfworld_does_not_support_are_left_out(root: Path, name: str) -> None:
    write_game(root / name / "trial", "", "", HEAT)
    assert len(find_games(root, [HEAT])) == 1


def test_a_trial_without_a_game_is_left_out(root: Path) -> None:
    (game,) = root.glob(f"{HEAT}*/*/game.tw-pddl")
    game.unlink()
    assert len(find_games(root, [HEAT, COOL])) == 1


def test_the_order_is_mixed_and_always_the_same(root: Path) -> None:
    for number in range(20):
        write_game(root / f"more-{number:02}" / "trial", "", "", HEAT)
    trials = [game.trial for game in find_games(root, [HEAT, COOL])]
    assert trials == [game.trial for game in find_games(root, [COOL, HEAT])] != sorted(trials)


def test_no_game_at_all_is_an_error_that_says_what_to_do(root: Path) -> None:
    with pytest.raises(ValueError, match="alfworld-download"):
        find_games(root, ["look_at_obj_in_light"])


def test_missing_data_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"alfworld-download --data-dir .*nowhere"):
        ALFWorldGames().tasks("train")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install lightning-agentrl\[alfworld\]"):
        ALFWorldGames().prepare()


# --- how they begin -------------------------------------------------------------------------------------------------


def test_each_game_is_opened_once_and_again_when_its_file_changed(tmp_path: Path) -> None:
    pool = WorkerPool(Corridor, Workers(2))  # any game does: its "file" is the number of rooms
    cache = tmp_path / "cache.jsonl"
    games = [Game(str(number), HEAT, f"trial {number}", changed=1) for number in range(1, 8)]
    try:
        first = open_games(games[:5], cache, pool, ahead=2)
        seats = next(pool._numbers)
        again = open_games(games, cache, pool, ahead=2)
        assert next(pool._numbers) - seats == 1 + 2
        changed = open_games([Game("1", HEAT, "trial 1", changed=2)], cache, pool, ahead=2)
    finally:
        pool.close()
    assert [each.opening["max_score"] for each in again] == list(range(1, 8))
    assert again[:5] == first
    assert len(cache.read_text().splitlines()) == 8
    assert changed[0].changed == 2


# --- playing them ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ALFWorldGames]:
    """Three games in ALFWorld's own domain and words."""
    pytest.importorskip("alfworld", exc_type=ImportError)
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    folder = tmp_path_factory.mktemp("alfworld")
    write_kitchens(folder, Path(ALFRED_PDDL_PATH).read_text(), Path(ALFRED_TWL2_PATH).read_text())
    world = ALFWorldGames(folder, folder / "cache", workers=Workers(1, deadline=120))
    world.prepare()
    yield world
    world.close()


def test_a_prompt_names_what_is_in_sight_the_task_and_the_commands(world: ALFWorldGames) -> None:
    (content,) = [task.messages[0]["content"] for task in world.tasks("train") if task.meta["type"] == HEAT]
    assert "Looking quickly around you, you see a countertop 1, a fridge 1" in content
    assert "Your task is to: put a hot apple in garbagecan." in content
    assert "go to fridge 1, go to garbagecan 1" in content
    assert "help" not in content
    assert "Welcome" not in content


def test_splits_have_their_own_games(world: ALFWorldGames) -> None:
    assert (len(world.tasks("train")), len(world.tasks("validation"))) == (2, 1)
    assert "heat some egg" in world.tasks("validation")[0].messages[0]["content"]


PLANS = {
    HEAT: (
        "go to countertop 1",
        "take apple 1 from countertop 1",
        "go to microwave 1",
        "heat apple 1 with microwave 1",
        "go to garbagecan 1",
        "move apple 1 to garbagecan 1",
    ),
    COOL: (
        "go to countertop 1",
        "take mug 1 from countertop 1",
        "go to fridge 1",
        "cool mug 1 with fridge 1",
        "go to countertop 1",
        "move mug 1 to countertop 1",
    ),
}


@pytest.mark.parametrize("kind", [HEAT, COOL])
def test_a_task_is_done_and_can_be_branched_on_the_way(world: ALFWorldGames, kind: str) -> None:
    (task,) = [task for task in world.tasks("train") if task.meta["type"] == kind]

    async def run() -> tuple[list[float], list[bool]]:
        first = await world.open(task, 0)
        plan = [Action(f"<think>so</think><action>{command}</action>") for command in PLANS[kind]]
        for action in plan[:3]:
            await first.step(action)
        second = await first.fork()
        over = [(await second.step(action)).done for action in plan[3:]]
        trajectory = Trajectory(0, 0, 0, task, Segment((), sampled=False))
        outcomes = [(await episode.reward(trajectory)).outcome for episode in (first, second)]
        for episode in (first, second):
            await episode.close()
        return outcomes, over

    assert asyncio.run(run()) == ([0.0, 1.0], [False, False, True])


def test_the_task_is_repeated_and_an_impossible_command_changes_nothing(world: ALFWorldGames) -> None:
    task: Task = world.tasks("train")[0]

    async def run() -> tuple[str | None, float]:
        episode = await world.open(task, 0)
        heard = await episode.step(Action("<think>so</think><action>open the sky</action>"))
        await episode.close()
        return heard.message, heard.penalty

    message, penalty = asyncio.run(run())
    assert message is not None
    assert message.startswith("Nothing happens.\n\nYour task is to: ")
    assert penalty == 0.0


def test_a_turn_without_a_thought_is_penalised(world: ALFWorldGames) -> None:
    async def run() -> float:
        episode = await world.open(world.tasks("train")[0], 0)
        heard = await episode.step(Action("<action>look</action>"))
        await episode.close()
        return heard.penalty

    assert asyncio.run(run()) == 0.1
