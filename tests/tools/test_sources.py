"""Where several tools come from at once."""

from __future__ import annotations

import asyncio
import sys
import types

import pytest

from lightning_agentrl.tools.base import ToolLimits
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.import_path import imported
from lightning_agentrl.tools.sources import FunctionTools, flatten


def plain(text: str) -> str:
    """Say it again.

    Args:
        text: what to say.
    """
    return text


@tool(limits=ToolLimits(timeout=3))
def decorated() -> str:
    """Say something."""
    return "something"


def undocumented() -> str:
    return ""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("functions_of_a_test")
    module.__dict__.update(plain=plain, decorated=decorated, undocumented=undocumented)
    monkeypatch.setitem(sys.modules, "functions_of_a_test", module)


def functions(*names: str, limits: ToolLimits | None = None) -> FunctionTools:
    return FunctionTools([f"functions_of_a_test.{name}" for name in names], limits)


def test_functions_are_found_by_their_import_path() -> None:
    first, second = functions("plain", "decorated").tools()
    assert (first.name, second.name) == ("plain", "decorated")
    assert asyncio.run(first(text="hello")) == "hello"


def test_limits_of_the_source_go_before_those_of_the_decorator() -> None:
    (own,) = functions("decorated").tools()
    (other,) = functions("decorated", limits=ToolLimits(timeout=7)).tools()
    assert (own.limits.timeout, other.limits.timeout) == (3, 7)


def test_a_function_that_the_policy_could_not_be_told_about_is_refused() -> None:
    with pytest.raises(ValueError, match="'undocumented' has no docstring"):
        functions("undocumented").tools()


def test_single_tools_and_sources_may_be_mixed() -> None:
    assert [each.name for each in flatten([functions("plain"), decorated])] == ["plain", "decorated"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("plain", "must be an import path such as my_package.my_module.plain"),
        ("functions_of_a_test.gone", "functions_of_a_test has no gone"),
        ("no_such_package.module.name", "there is no module no_such_package"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"setting.*{message}"):
        imported(path, "setting")


def test_what_a_module_lacks_itself_is_not_mistaken_for_the_module(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking.py").write_text("import something_that_is_not_installed")  # type: ignore[operator]
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_installed"):
        imported("lacking.name", "setting")
