"""The tutorials on tools and environments, followed step by step."""

from __future__ import annotations

import asyncio
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.__main__ import main as run_command
from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.environments.base import Environment, Observation
from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Trajectory, Turn

TUTORIALS = Path(__file__).parents[1] / "tutorials"
PAGES = {name: (TUTORIALS / f"{name}.md").read_text("utf-8") for name in ("20_write_a_tool", "21_write_an_environment")}
FILES = {
    file: text
    for page in PAGES.values()
    for file, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, re.DOTALL)
}
COMMANDS = [
    (name, line)
    for name, page in PAGES.items()
    for block in re.findall(r"```\n((?:agentrl|python) .*?)\n```", page, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("agentrl fit")
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of both pages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["agentrl"])
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def configured(*names: str) -> Environment:
    environment = AgentRLCLI([part for name in ("base", *names) for part in ("-c", name)], run=False)
    assert isinstance(environment.datamodule.environment, Environment)
    return environment.datamodule.environment


def perform(environment: Environment, *actions: Action) -> tuple[list[Observation], Reward]:
    """What the first training task answers to these turns, and the verdict."""
    task = environment.tasks("train")[0]

    async def run() -> tuple[list[Observation], Reward]:
        episode = await environment.open(task, seed=0)
        try:
            heard = [await episode.step(action) for action in actions]
            said = Segment((1,), sampled=True, logprobs=(0.0,))
            turns = tuple(Turn(said, text=action.text, answer=action.answer) for action in actions)
            rollout = Trajectory(0, 0, 0, task, Segment((1,), sampled=False), turns)
            return heard, await episode.reward(rollout)
        finally:
            await episode.close()

    try:
        return asyncio.run(run())
    finally:
        environment.close()


def call(name: str, **arguments: Any) -> Action:
    return Action("…", (ParsedCall(name, arguments),))


def test_every_file_of_the_pages_has_a_name() -> None:
    named = sum(len(re.findall(r"```(?:python|yaml)\n", page)) for page in PAGES.values())
    assert len(FILES) == named


def test_the_documented_function_answers_questions(here: Path) -> None:
    importlib.import_module("my_package.questions")
    environment = configured("capitals.yaml")
    (found, failed, last), reward = perform(
        environment,
        call("capital", country="Norway"),
        call("capital", country="Atlantis"),
        Action("<answer>Oslo</answer>", answer="Oslo"),
    )
    assert found.results == ("Oslo",)
    assert failed.tool_calls[0].error_kind == "exception"
    assert last.done
    assert reward.outcome == 1


def test_the_class_is_a_tool_with_settings(here: Path) -> None:
    importlib.import_module("my_package.questions")
    Path("my_data/atlas.json").write_text('{"Peru": {"capital": "Lima", "river": "Amazon"}}')
    heard, _ = perform(
        configured("atlas.yaml"),
        call("atlas", country="Peru", fact="river"),
        call("atlas", country="Peru", fact="anthem"),
        call("atlas", country="Atlantis", fact="river"),
    )
    assert [each.tool_calls[0].error_kind for each in heard] == [None, "wrong_type", "not_found"]
    assert heard[0].results == ("Amazon",)


def test_the_server_is_a_tool(here: Path) -> None:
    pytest.importorskip("mcp")
    importlib.import_module("my_package.questions")  # the server finds my_package in the folder that the run is in
    (heard,), _ = perform(configured("server.yaml"), call("river", country="Kenya"))
    assert heard.results == ("Tana",)


def test_a_tool_can_be_tried_without_a_policy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(FILES["try_it.py"], {})
    found, failed = capsys.readouterr().out.splitlines()
    assert "'Lima'" in found
    assert "KeyError" in failed


def test_classes_in_the_current_folder_are_found_by_the_installed_command(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = next(line for name, line in COMMANDS if "my_package.capitals.Capitals" in line)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(here))])
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--print_config"])
    with pytest.raises(SystemExit) as ended:
        run_command()
    assert ended.value.code in (0, None), capsys.readouterr().err
    assert "class_path: my_package.capitals.Capitals" in capsys.readouterr().out


def test_the_environment_of_some_lines_asks_and_judges(here: Path) -> None:
    capitals = importlib.import_module("my_package.capitals").Capitals(held_out=2)
    assert [len(capitals.tasks(split)) for split in ("train", "validation")] == [2, 2]
    (heard, last), reward = perform(
        capitals, call("capital", country="Norway"), Action("<answer>Oslo</answer>", answer="Oslo")
    )
    assert heard.results == ("Oslo",)
    assert last.done
    assert reward.outcome == 1


def test_the_episode_plays_and_forks(here: Path) -> None:
    countdown = importlib.import_module("my_package.countdown").Countdown(heap=3)
    (wrong, won), reward = perform(countdown, Action("all"), Action("3"))
    assert (wrong.message, wrong.penalty) == ("Say 1, 2 or 3.", 0.1)
    assert won.done
    assert reward.outcome == 1

    async def both() -> list[Observation]:
        episode = await countdown.open(countdown.tasks("train")[0], seed=1)
        twin = await episode.fork()
        return [await each.step(Action("1")) for each in (episode, twin)]

    first, second = asyncio.run(both())
    assert first == second


def test_the_lake_is_walked(here: Path) -> None:
    pytest.importorskip("gymnasium")
    steps = ["down", "down", "right", "right", "down", "right"]
    heard, reward = perform(configured("lake.yaml"), *(Action(f"<action>{step}</action>") for step in steps))
    assert "[F]" in str(heard[0].message)
    assert heard[-1].done
    assert reward.outcome == 1


def test_the_safe_opens_for_who_plays_the_script(here: Path) -> None:
    safe = importlib.import_module("my_package.safe")
    play = importlib.import_module("my_package.burglar").play
    path = here / "safe.jsonl"
    environment = TRLEnvironment(safe.Safe, rows=safe.rows, player=play, demonstrations=path)
    environment.prepare()
    assert environment.tasks("train")[0].messages[0]["content"] == "Open the safe. The number is between 8 and 12."
    ends = [str(each.turns[0][1]) for each in read_demonstrations(path)]
    assert 0.6 < sum("opens" in end for end in ends) / len(ends) < 0.9
    _, reward = perform(environment, call("turn", to=10), Action("Done."))
    assert reward.outcome == 1


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value[:20])
def test_the_commands_of_the_pages_build(here: Path, page: str, line: str) -> None:
    importlib.import_module("my_package.questions")
    AgentRLCLI(shlex.split(line)[2:], run=False)
