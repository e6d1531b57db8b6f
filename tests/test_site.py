"""The documentation site: it builds without a warning, holds every page, and needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: warnings, dead links among them, are errors."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    build += ["--config-file", str(ROOT / "scripts" / "docs" / "mkdocs.yml")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_and_every_executed_notebook_is_there(site: Path) -> None:
    tutorials = [path.relative_to(ROOT / "tutorials") for path in (ROOT / "tutorials").rglob("*.md")]
    notebooks = [path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb")]
    top = [Path(name) for name in ("index.md", "contributing.md", "security.md", "changelog.md")]
    for path in [*tutorials, *notebooks, *top]:
        name = "index.html" if path.name == "README.md" else f"{path.stem}.html"
        assert (site / path.parent / name).is_file(), path


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for section in ("Tutorials", "Algorithms", "Recipes", "Reference", "Project"):
        assert section in home
    menu = (site / "60_metrics.html").read_text(encoding="utf-8")
    for path in (ROOT / "tutorials").glob("*.md"):
        assert f'href="{path.stem}.html' in menu or path.stem == "60_metrics", path


def test_modules_that_pages_link_to_are_in_the_reference(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="reference/credit.html#lightning_agentrl.credit.base"' in home
    assert 'id="lightning_agentrl.credit.base"' in (site / "reference" / "credit.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """A reader who is offline sees the same."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="?https?:[^">]+', text), page.name
        assert not re.findall(r'<link[^>]+rel="?stylesheet[^>]+href="?https?:[^">]+', text), page.name
