"""Games that TextWorld makes: split, kept, played, demonstrated."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from lightning_agentrl.environments.base import Observation
from lightning_agentrl.environments.textworld import TextWorldGames
from lightning_agentrl.environments.textworld.demonstrations import TextDemonstrator
from lightning_agentrl.environments.textworld.game_set import GameSet, require_textworld
from lightning_agentrl.environments.workers import Workers
from lightning_agentrl.types import Action, Segment, StopReason, Task, Trajectory


def play(world: TextWorldGames, task: Task, *commands: str) -> tuple[list[Observation], float]:
    """What a game answers, and its outcome."""

    async def run() -> tuple[list[Observation], float]:
        episode = await world.open(task, 0)
        heard = [await episode.step(Action(f"<action>{command}</action>")) for command in commands]
        reward = await episode.reward(Trajectory(0, 0, 0, task, Segment((), sampled=False), stop=StopReason.FINISHED))
        await episode.close()
        return heard, reward.outcome

    return asyncio.run(run())


def walkthrough(world: TextWorldGames) -> tuple[Task, list[str]]:
    """A game whose solution is known."""
    (row,) = world.games.read(world.data_dir, "demonstrations")
    return Task("demonstrated", (), meta={"file": row["file"]}), row["walkthrough"]


# --- making them ----------------------------------------------------------------------------------------------------


def test_every_part_has_its_games_and_nothing_is_left_over(text_world: TextWorldGames) -> None:
    folder = text_world.games.folder(text_world.data_dir)
    files = {path.name for path in folder.iterdir() if not path.name.startswith("demonstrations-")}
    assert files == {"games", "train.jsonl", "validation.jsonl", "demonstrations.jsonl", "settings.json"}
    parts = [text_world.games.read(text_world.data_dir, part) for part in ("train", "validation", "demonstrations")]
    used = {Path(row["file"]).stem for rows in parts for row in rows}
    assert [len(rows) for rows in parts] == [2, 1, 1]
    assert {path.name for path in (folder / "games").iterdir()} == {
        f"{n}{end}" for n in used for end in (".z8", ".json")
    }
    assert not [path for path in text_world.data_dir.iterdir() if path.name.startswith(".partial")]


def test_no_two_parts_share_a_game(text_world: TextWorldGames) -> None:
    parts = [text_world.games.read(text_world.data_dir, part) for part in ("train", "validation", "demonstrations")]
    openings = [row["opening"]["text"] for rows in parts for row in rows]
    assert len(set(openings)) == len(openings) == 4


def test_games_that_are_there_are_left_alone(text_world: TextWorldGames) -> None:
    files = sorted(text_world.games.folder(text_world.data_dir).rglob("*"))
    before = [path.stat().st_mtime_ns for path in files]
    replace(text_world).prepare()
    assert sorted(text_world.games.folder(text_world.data_dir).rglob("*")) == files
    assert [path.stat().st_mtime_ns for path in files] == before


def test_other_settings_mean_other_games(text_world: TextWorldGames) -> None:
    folders = {replace(GameSet(), **change).folder(text_world.data_dir) for change in ({}, {"seed": 1}, {"train": 3})}  # type: ignore[arg-type]
    assert len(folders) == 3


def test_the_solution_is_in_no_task(text_world: TextWorldGames) -> None:
    for split in ("train", "validation"):
        for row in text_world.games.read(text_world.data_dir, split):  # type: ignore[arg-type]
            assert set(row) == {"id", "file", "level", "moves", "opening"}


def test_games_that_were_not_made_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No games at"):
        TextWorldGames(tmp_path).tasks("train")


def test_without_textworld_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install lightning-agentrl\[textworld\]"):
        require_textworld()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"levels": (0,)}, "numbers from 1 to 300"),
        ({"levels": ()}, "numbers from 1 to 300"),
        ({"kind": "cooking", "levels": (9,)}, "numbers from 1 to 8"),
        ({"levels": (2, 2)}, "must differ"),
        ({"train": 0}, "positive numbers"),
        ({"theme": "basic"}, "needs kind=custom"),
    ],
)
def test_impossible_sets_are_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        GameSet(**wrong)  # type: ignore[arg-type]


# --- playing them ---------------------------------------------------------------------------------------------------


def test_the_solution_wins(text_world: TextWorldGames) -> None:
    task, commands = walkthrough(text_world)
    heard, outcome = play(text_world, task, *commands)
    assert ([each.done for each in heard], outcome) == ([False, True], 1.0)


def test_half_of_the_solution_does_not_win(text_world: TextWorldGames) -> None:
    task, commands = walkthrough(text_world)
    assert play(text_world, task, *commands[:-1])[1] == 0.0


def test_a_prompt_shows_what_can_be_done(text_world: TextWorldGames) -> None:
    content = text_world.tasks("train")[0].messages[-1]["content"]
    room, commands = content.split("\n")
    assert room.startswith("-= ")
    assert {"inventory", "look"} < set(commands.split(", "))


def test_the_title_screen_is_never_shown(text_world: TextWorldGames) -> None:
    opening = text_world.games.read(text_world.data_dir, "train")[0]["opening"]
    assert opening["text"].startswith("-= ")
    assert opening["objective"]


def test_looking_again_is_the_same_state(text_world: TextWorldGames) -> None:
    task, commands = walkthrough(text_world)
    heard, _ = play(text_world, task, "look", "inventory", "look", commands[0])
    keys = [each.state_key for each in heard]
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("command", ["save", "restore", "script", "restart", "quit", "tw-extra-infos score", "verbose"])
def test_commands_to_the_interpreter_are_no_verbs(
    text_world: TextWorldGames, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, _ = walkthrough(text_world)
    heard, _ = play(text_world, task, command, "look")
    assert heard[0].message is not None
    assert heard[0].message.startswith("That's not a verb I recognise.")
    assert heard[1].message is not None
    assert heard[1].message.startswith("-= ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chain", ["{}. {}", "{} then {}", "{}; {}"])
def test_a_turn_is_one_command(text_world: TextWorldGames, chain: str) -> None:
    task, commands = walkthrough(text_world)
    heard, _ = play(text_world, task, chain.format(*commands))
    assert not heard[0].done


def test_an_episode_forks_and_resumes(text_world: TextWorldGames) -> None:
    task, commands = walkthrough(text_world)

    async def run() -> list[float]:
        episode = await text_world.open(task, 0)
        await episode.step(Action(f"<action>{commands[0]}</action>"))
        copy = await episode.fork()
        await copy.step(Action(f"<action>{commands[1]}</action>"))
        trajectory = Trajectory(0, 0, 0, task, Segment((), sampled=False))
        outcomes = [(await each.reward(trajectory)).outcome for each in (episode, copy)]
        for each in (episode, copy):
            await each.close()
        return outcomes

    assert asyncio.run(run()) == [0.0, 1.0]


# --- demonstrations -------------------------------------------------------------------------------------------------


def test_demonstrations_are_written_once_the_games_are_made(text_world: TextWorldGames, tmp_path: Path) -> None:
    assert text_world.demonstrations is not None
    assert len(text_world.demonstrations.read_text().splitlines()) == 40
    assert TextWorldGames(tmp_path).demonstrations is None


def test_a_demonstration_shows_what_a_rollout_would_see(text_world: TextWorldGames) -> None:
    assert text_world.demonstrations is not None
    task, commands = walkthrough(text_world)
    for line in text_world.demonstrations.read_text().splitlines():
        messages = json.loads(line)["messages"]
        done = [message["content"] for message in messages if message["role"] == "assistant"]
        heard, _ = play(text_world, task, *(text.removeprefix("<action>").removesuffix("</action>") for text in done))
        seen = [message["content"] for message in messages if message["role"] == "user"][1:]
        assert [each.message for each in heard[:-1]] == seen
        assert heard[-1].done is (len(set(done)) >= len(commands) and "look" not in done[-1])


def test_lazy_demonstrations_only_look_around_after_their_first_command() -> None:
    lazy = TextDemonstrator(lazy=1.0, turns=4)
    assert lazy.commands(["go east", "take coin"], lambda commands: {}, Random(0)) == ["go east", *["look"] * 3]


def test_diligent_demonstrations_are_the_solution_with_harmless_detours() -> None:
    diligent = TextDemonstrator(lazy=0.0, noise=0.5)
    state = {"commands": ["go west", "look", "inventory", "examine door", "take coin"]}
    done = diligent.commands(["go east", "take coin"] * 8, lambda commands: state, Random(0))
    assert [command for command in done if command.startswith(("go", "take"))] == ["go east", "take coin"] * 8
    assert len(done) > 16


@pytest.mark.parametrize("wrong", [{"lazy": 1.5}, {"noise": -0.1}, {"count": 0}])
def test_impossible_demonstrators_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"probability|at least 1"):
        TextDemonstrator(**wrong)  # type: ignore[arg-type]


# --- every kind -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "games",
    [
        GameSet("coin_collector", (3, 102), train=2, validation=2),
        GameSet("treasure_hunter", (1, 11, 21), train=3, validation=3),
        GameSet("simple", (1, 2, 3), train=3, validation=3),
        GameSet("cooking", (1, 5, 8), train=3, validation=3),
        GameSet("custom", (1, 3), rooms=3, objects=6, train=2, validation=2),
        GameSet("custom", (2,), rooms=2, objects=6, theme="basic", train=1, validation=1),
    ],
    ids=lambda games: f"{games.kind}-{games.theme}",
)
def test_games_of_every_kind_are_made_and_won(games: GameSet, tmp_path: Path) -> None:
    pytest.importorskip("textworld")
    demonstrated = replace(games, demonstrations=len(games.levels))
    world = TextWorldGames(tmp_path, demonstrated, demonstrator=TextDemonstrator(count=len(games.levels)))
    try:
        world.prepare()
        assert {task.meta["level"] for task in world.tasks("train")} == set(games.levels)
        for row in demonstrated.read(tmp_path, "demonstrations"):
            assert "\n>" not in row["opening"]["text"]  # nor the line with the score that some games print
            assert play(world, Task("known", (), meta={"file": row["file"]}), *row["walkthrough"])[1] == 1.0
    finally:
        world.close()


@pytest.mark.slow
def test_the_same_settings_make_the_same_games_whatever_the_number_of_workers(tmp_path: Path) -> None:
    pytest.importorskip("textworld")
    games = GameSet(levels=(2, 3), train=4, validation=2)
    for name, processes in (("one", 1), ("three", 3)):
        games.write(tmp_path / name, Workers(processes))
    for part in ("train", "validation"):
        one, three = (games.read(tmp_path / name, part) for name in ("one", "three"))  # type: ignore[arg-type]
        assert [row["opening"] for row in one] == [row["opening"] for row in three]


@pytest.mark.slow
def test_a_level_that_is_used_up_says_how_many_games_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("textworld")
    monkeypatch.setattr("lightning_agentrl.environments.textworld.make_games.DUDS", 3)
    games = GameSet("coin_collector", (1,), train=200, validation=1)  # a room with a coin: there are some dozen names
    with pytest.raises(ValueError, match=r"no more than \d+ different games of coin_collector at level 1"):
        games.write(tmp_path, Workers())
    assert [path.name for path in tmp_path.iterdir()] == [f".{games.folder(tmp_path).name}.lock"]
