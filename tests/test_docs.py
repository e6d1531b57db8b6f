"""What README and tutorials say is true: their links lead somewhere, their Python runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lightning_agentrl.cli import USAGE, AgentRLCLI
from lightning_agentrl.config_files import config_names

ROOT = Path(__file__).parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "tutorials").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: warnings, dead links among them, are errors."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    build += ["--config-file", str(ROOT / "scripts" / "docs" / "mkdocs.yml")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    for page in PAGES:
        path = page.relative_to(ROOT)
        name = path.relative_to("tutorials") if path.parts[0] == "tutorials" else Path(path.name.lower())
        assert (
            site / name.with_suffix(".html").as_posix().replace("README", "index").replace("readme", "index")
        ).exists()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (site / "notebooks" / f"{notebook.stem}.html").exists()


def test_the_site_needs_no_network(site: Path) -> None:
    """A reader who is offline sees the same: no script, style, font or picture comes from elsewhere."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="?https?:[^">]+', text), page.name
        assert not re.findall(r'<link[^>]+rel="?stylesheet[^>]+href="?https?:[^">]+', text), page.name


def test_the_tutorial_on_credit_assigners_runs_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "tutorials" / "30_add_a_credit_assigner.md").read_text(encoding="utf-8")
    source, test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module = types.ModuleType("my_package.last_turn")
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.last_turn", module)
    exec(source, module.__dict__)
    scope: dict[str, object] = {}
    exec(test, scope)
    check = scope["test_only_the_last_turn_earns"]
    assert callable(check)
    check()


def test_every_command_that_readme_names_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in set(re.findall(r"agentrl ([a-z-]+)", readme)):
        assert re.search(rf"^  {command}\b", USAGE, re.MULTILINE), command
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


ALGORITHMS = sorted((ROOT / "tutorials" / "algorithms").glob("*.md"))


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_the_python_of_an_algorithms_page_runs_as_written(page: Path) -> None:
    for source in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(source, {})


def test_every_recipe_and_every_assigner_has_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in ALGORITHMS)
    for name in config_names():
        if name.startswith("algorithm/"):
            assert name in text, name
    for module in (ROOT / "lightning_agentrl" / "credit").glob("*.py"):
        for cls in re.findall(r"class (\w+)\(CreditAssigner\)", module.read_text(encoding="utf-8")):
            assert cls in text, cls


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_the_commands_of_an_algorithms_page_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["agentrl"])
    for line in re.findall(r"^agentrl fit (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        AgentRLCLI(shlex.split(line, comments=True), run=False)
