"""The tutorial on data, followed step by step."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_agentrl.cli import AgentRLCLI, main
from lightning_agentrl.data.layouts import LAYOUTS
from lightning_agentrl.environments.base import Environment, Observation
from lightning_agentrl.testing import tiny_policy
from lightning_agentrl.types import Action, ParsedCall

PAGE = (Path(__file__).parents[1] / "tutorials" / "22_bring_your_data.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
YAML = {text.split()[1]: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}
COMMANDS = re.findall(r"```\n((?:agentrl|python) .*?)\n```", PAGE, re.DOTALL)
LITTLE = [
    "--data.prompts_per_epoch",
    "2",
    "--data.group_size",
    "2",
    "--data.max_turn_tokens",
    "8",
    "--data.max_turns",
    "2",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the Python of the page has run and its YAML files lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["agentrl"])
    for source in PYTHON:
        exec(source, {})
    for name, text in YAML.items():
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


def environment(name: str, *options: str) -> Environment:
    cli = AgentRLCLI(["-c", "base", "-c", name, *options], run=False)
    assert isinstance(cli.datamodule.environment, Environment)
    return cli.datamodule.environment


def ask(environment: Environment, *calls: ParsedCall) -> list[str]:
    async def run() -> list[Observation]:
        episode = await environment.open(environment.tasks("train")[0], seed=0)
        seen = [await episode.step(Action("", (call,))) for call in calls]
        await episode.close()
        return seen

    return [observation.results[0] for observation in asyncio.run(run())]


def test_the_questions_are_read_and_the_corpus_is_searched(here: Path) -> None:
    searching = environment("my_data/here.yaml")
    searching.prepare()
    assert [task.meta["hops"] for task in searching.tasks("train")] == [1, 2]
    found = ask(searching, ParsedCall("search", {"query": "builder of Osk"}))
    assert "It was built by Ada Flint." in found[0]


def test_pages_are_opened(here: Path) -> None:
    deep = environment("my_data/deep.yaml")
    deep.prepare()
    found, page = ask(deep, ParsedCall("search", {"query": "Osk"}), ParsedCall("fetch", {"id": "0"}))
    assert found == "[0] Osk: Osk is a town on the Marl. It was built …"
    assert page == '"Osk"\nOsk is a town on the Marl. It was built by Ada Flint.'


@pytest.fixture
def served(here: Path) -> Iterator[str]:
    """The url of the server that the page starts, on a free port instead of 8000."""
    (command,) = (line for line in COMMANDS if line.startswith("python"))
    arguments = shlex.split(command.replace("--port 8000", "--port 0"))[1:]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r'"url": "([^"]+)"', process.stdout.readline())
        assert match is not None
        yield match[1]
        process.terminate()


def test_the_server_is_searched(here: Path, served: str) -> None:
    searching = environment("my_data/server.yaml", "--data.environment.init_args.retriever.init_args.url", served)
    searching.prepare()
    assert "Ada Flint" in ask(searching, ParsedCall("search", {"query": "Osk"}))[0]


@pytest.mark.slow
def test_a_policy_trains_on_the_data(here: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("agentrl fit"))
    policy = ["-c", "engine/transformers", "--model.policy", tiny_policy(here / "policy")]
    assert main([*shlex.split(command)[1:], *policy, *LITTLE]) == 0


def test_the_table_of_layouts_is_complete() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+) \|", PAGE, re.MULTILINE)
    assert {name for name, _ in rows if name != "layout"} == set(LAYOUTS)
    for name, keys in rows:
        for key in LAYOUTS[name].keys if name in LAYOUTS else ():
            assert all(part in keys for part in key.split(" or ")), (name, key)
