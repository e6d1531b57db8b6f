"""What README and tutorials say is true: their links lead somewhere, their Python runs, their commands parse."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import capture_parser
from pages import ALGORITHMS, FILE, PAGES, ROOT, blocks, commands, write_files

from lightning_agentrl import cli
from lightning_agentrl.cli import COMMANDS, USAGE, AgentRLCLI
from lightning_agentrl.config_files import config_names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_to_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("reader"))


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=lambda page: page.name)
def test_every_command_of_a_page_parses(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "argv", ["agentrl"])
    monkeypatch.setattr(cli, "auto_cli", _parse)
    for command, *rest in commands(page):
        assert command in COMMANDS, command
        if command in AgentRLCLI.subcommands() or command == "warmstart":
            AgentRLCLI(_quiet(rest), run=False)
        elif command == "quickstart":
            AgentRLCLI(["-c", "base", "-c", "environment/made_up_world", "-c", "quickstart", *rest], run=False)
        else:
            cli._run(command, rest)


def _quiet(arguments: list[str]) -> list[str]:
    """`--print_config` would print and leave."""
    return [argument for argument in arguments if argument != "--print_config"]


def _parse(component: Any, args: list[str], **options: Any) -> None:
    """Stands for `auto_cli`: parses and does not run."""
    capture_parser(lambda: REAL(component, args=args, **options)).parse_args(args)


REAL = cli.auto_cli


def test_every_command_and_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command in set(re.findall(r"`agentrl ([a-z][a-z-]*)", text)):
            assert re.search(rf"^  {command}\b", USAGE, re.MULTILINE), (page.name, command)
        for target in set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)


ADD_ONE = ("30_add_a_credit_assigner", "31_add_a_loss_or_branching")


@pytest.mark.parametrize("name", ADD_ONE)
def test_the_python_of_adding_a_part_runs_as_written_and_its_test_passes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    passed = 0
    for source in blocks(ROOT / "tutorials" / f"{name}.md", "python"):
        named = FILE.match(source)
        module = types.ModuleType(named[1].removesuffix(".py").replace("/", ".") if named else "test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, module.__dict__)
        for key, value in module.__dict__.items():
            if key.startswith("test_"):
                value()
                passed += 1
    assert passed


RUNS_WHOLE = [*ALGORITHMS, ROOT / "tutorials" / "10_how_an_epoch_works.md"]


@pytest.mark.parametrize("page", RUNS_WHOLE, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_as_written(page: Path) -> None:
    scope: dict[str, object] = {}
    for source in blocks(page, "python"):
        exec(source, scope)


def test_every_recipe_and_every_assigner_has_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in ALGORITHMS)
    for name in config_names():
        if name.startswith("algorithm/"):
            assert name in text, name
    for module in (ROOT / "lightning_agentrl" / "credit").glob("*.py"):
        for cls in re.findall(r"class (\w+)\(CreditAssigner\)", module.read_text(encoding="utf-8")):
            assert cls in text, cls
