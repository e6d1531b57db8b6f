"""The policy's Python interpreter."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Iterator

import pytest
from jsonargparse import ArgumentParser

from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.python import PythonTool
from lightning_agentrl.tools.sandbox import SandboxSettings
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import ParsedCall

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the sandbox needs Linux on x86_64"
)
SETTINGS = SandboxSettings(slots=1, timeout=2.0, memory_mb=128, max_output=5000, preload=("math",))


@pytest.fixture(scope="module")
def tool() -> Iterator[PythonTool]:
    tool = PythonTool(SETTINGS)
    yield tool
    tool.close()


def run(tool: PythonTool, code: str) -> ToolResult:
    """What a call comes to."""
    return asyncio.run(tool(code=code))


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("print(6 * 7)", None, "42\n"),
        ("x = 1", None, "[no output]"),
        ("exit(3)", "exception", "[ended with an error and no output]"),
        ("print('so far')\nwhile True: pass", "timeout", "so far\n[stopped after 2 seconds]"),
        ("import os\nos.abort()", "killed", "[crashed: SIGSEGV]"),
    ],
)
def test_a_call_says_what_became_of_the_program(code: str, kind: str | None, text: str, tool: PythonTool) -> None:
    result = run(tool, code)
    assert (result.text, result.error_kind, result.ok) == (text, kind, kind is None)


def test_an_error_is_shown_as_python_shows_it(tool: PythonTool) -> None:
    result = run(tool, "1 / 0")
    assert (result.error_kind, result.text.splitlines()[-1]) == ("exception", "ZeroDivisionError: division by zero")


def test_a_program_that_runs_out_of_memory_is_told_how_much_there_is(tool: PythonTool) -> None:
    result = run(tool, "x = 'x' * 10**9")
    assert (result.error_kind, result.text.splitlines()[-1]) == ("memory", "[used more than 128 MiB of memory]")


def test_too_much_output_is_cut_in_the_middle_and_said_so(tool: PythonTool) -> None:
    result = run(tool, "print('begin')\nwhile True: print('spam')")
    assert (result.error_kind, result.truncated) == ("output", True)
    assert result.text.startswith("begin\n")
    assert result.text.endswith("[stopped: printed more than 5000 bytes]")
    assert len(result.text) <= tool.limits.max_characters


def test_a_long_output_that_ends_in_an_error_still_shows_the_error(tool: PythonTool) -> None:
    result = run(tool, "for n in range(1000): print(n)\n1 / 0")
    assert result.text.startswith("0\n1\n")
    assert "left out" in result.text
    assert result.text.endswith("ZeroDivisionError: division by zero\n")
    assert len(result.text) <= tool.limits.max_characters


def test_nothing_is_kept_between_calls(tool: PythonTool) -> None:
    run(tool, "x = 1")
    assert run(tool, "x").text.endswith("NameError: name 'x' is not defined\n")


def test_the_policy_is_told_what_it_cannot_do(tool: PythonTool) -> None:
    for promise in (
        "starts afresh",
        "no network, no threads and no other processes",
        "2 seconds",
        "cannot write files",
    ):
        assert promise in tool.description


def test_a_toolbox_runs_it_within_its_slots(tool: PythonTool) -> None:
    assert isinstance(tool, Tool)
    assert tool.limits.concurrency == SETTINGS.slots
    call = ParsedCall("python", {"code": "print(1)"})
    results = asyncio.run(_gather(Toolbox([tool]), call))
    assert [result.text for result in results] == ["1\n"] * 8


async def _gather(toolbox: Toolbox, call: ParsedCall) -> list[ToolResult]:
    return await asyncio.gather(*(toolbox.run(call) for _ in range(8)))


def test_its_settings_can_be_written_in_yaml() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--tool", type=Tool)
    config = """
    class_path: lightning_agentrl.tools.python.PythonTool
    init_args:
      settings: {slots: 3, timeout: 1.5, preload: [math, numpy], writable: true}
      limits: {max_characters: 100}
    """
    built = parser.instantiate_classes(parser.parse_args([f"--tool={config}"])).tool
    assert isinstance(built, PythonTool)
    assert (built.settings.slots, built.settings.writable, list(built.settings.preload)) == (3, True, ["math", "numpy"])
    assert built.limits == ToolLimits(max_characters=100)
