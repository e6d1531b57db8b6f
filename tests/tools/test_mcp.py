"""Tools of a real MCP server process: what they return, what a bad server does to them, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.testing import mcp_server
from lightning_agentrl.tools import mcp_connection
from lightning_agentrl.tools.base import InfrastructureError, ToolLimits, ToolResult
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.mcp import MCPTools
from lightning_agentrl.tools.sources import flatten
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import ParsedCall

pytest.importorskip("mcp")

SERVER = [sys.executable, mcp_server.__file__]


@pytest.fixture(scope="module")
def source() -> Iterator[MCPTools]:
    tools = MCPTools(SERVER)
    yield tools
    tools.close()


@pytest.fixture(scope="module")
def renamed() -> Iterator[MCPTools]:
    tools = MCPTools(SERVER, include=["pid"], prefix="my_")
    yield tools
    tools.close()


@pytest.fixture(scope="module")
def box(source: MCPTools) -> Toolbox:
    return Toolbox(source.tools())


def _own() -> str:
    """Do something."""
    return ""


@contextlib.contextmanager
def http_server(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server over HTTP and its address."""
    process = subprocess.Popen([*SERVER, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def run(box: Toolbox, name: str, **arguments: Any) -> ToolResult:
    return asyncio.run(box.run(ParsedCall(name, arguments)))


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds, or has ended."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], 15)[0])
    finally:
        os.close(watch)


def test_a_tool_has_the_name_the_description_and_the_schema_of_the_server(box: Toolbox) -> None:
    add = box.tools["add"]
    assert add.description == "Add two whole numbers."
    assert add.parameters["properties"]["a"]["type"] == "integer"
    assert add.parameters["required"] == ["a", "b"]


def test_a_result_is_its_text(box: Toolbox) -> None:
    assert run(box, "add", a=2, b=3) == ToolResult("5", latency=pytest.approx(0, abs=60))


def test_arguments_are_checked_against_the_schema_of_the_server(box: Toolbox) -> None:
    assert run(box, "add", a="two", b=3).error_kind == "wrong_type"


def test_what_the_server_calls_an_error_is_told_to_the_policy(box: Toolbox) -> None:
    result = run(box, "refuse", reason="there is no more")
    assert (result.ok, result.error_kind) == (False, "tool_error")
    assert "there is no more" in result.text


def test_content_that_is_no_text_is_named(box: Toolbox) -> None:
    words, image, link, memo = run(box, "mixed").text.split("\n")
    assert (words, memo) == ("words", "a memo")
    assert "image/png" in image
    assert "https://example.org/" in link


def test_a_result_of_ten_megabytes_is_cut(box: Toolbox) -> None:
    result = run(box, "flood", characters=10_000_000)
    assert result.truncated
    assert len(result.text) < 5000


def test_half_a_surrogate_pair_as_argument_does_not_end_the_session(box: Toolbox) -> None:
    server = run(box, "pid").text
    assert run(box, "refuse", reason="\ud800").error_kind == "tool_error"
    assert run(box, "pid").text == server


def test_a_result_without_content_is_empty_text(box: Toolbox) -> None:
    assert run(box, "nothing").text == ""


def test_calls_of_many_trajectories_overlap(box: Toolbox) -> None:
    async def all_at_once() -> list[ToolResult]:
        async with asyncio.timeout(20):  # one after another they would need 50 seconds
            return await asyncio.gather(*(box.run(ParsedCall("wait", {"seconds": 1.0})) for _ in range(50)))

    assert {result.text for result in asyncio.run(all_at_once())} == {"waited"}


def test_the_session_outlives_the_event_loop_that_asked(box: Toolbox) -> None:
    assert run(box, "pid").text == run(box, "pid").text  # each in a loop of its own


def test_a_slow_call_is_cut_off_and_the_server_goes_on(source: MCPTools) -> None:
    box = Toolbox(source.tools(), {"wait": ToolLimits(timeout=0.2)})
    server = run(box, "pid").text
    assert run(box, "wait", seconds=60.0).error_kind == "timeout"
    assert run(box, "pid").text == server


def test_the_server_is_asked_for_its_tools_once(renamed: MCPTools) -> None:
    first = renamed.tools()
    renamed.close()
    assert renamed.tools() is first
    assert not renamed.connection.open


def test_sources_take_the_place_of_their_tools(source: MCPTools) -> None:
    own = tool(_own)
    names = [each.name for each in flatten([own, source])]
    assert names[:2] == ["_own", "add"]
    assert len(names) == 1 + len(source.tools())


def test_a_choice_of_tools_can_be_renamed(renamed: MCPTools) -> None:
    (only,) = renamed.tools()
    assert only.name == "my_pid"
    assert asyncio.run(only()).text.isdecimal()


# --- what a bad server does --------------------------------------------------------------------------------------


def test_a_server_that_dies_in_a_call_is_no_fault_of_the_policy_and_is_started_again(box: Toolbox) -> None:
    before = run(box, "pid").text
    with pytest.raises(InfrastructureError, match="MCP server"):
        asyncio.run(box.tools["die"]())
    assert run(box, "pid").text != before


def test_a_call_that_meets_a_dead_server_is_repeated(box: Toolbox) -> None:
    server = int(run(box, "pid").text)
    os.kill(server, signal.SIGKILL)
    assert gone(server)
    assert run(box, "add", a=1, b=1).text == "2"


def test_a_server_that_no_longer_answers_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_connection, "PROBE", 0.5)
    tools = MCPTools(SERVER)
    box = Toolbox(tools.tools(), {"freeze": ToolLimits(timeout=0.5)})
    try:
        server = run(box, "pid").text
        assert run(box, "freeze", seconds=600.0).error_kind == "timeout"
        assert run(box, "pid").text != server
        assert gone(int(server))
    finally:
        tools.close()


def test_a_server_over_http_may_be_killed_and_come_back() -> None:
    with http_server() as (process, url):
        tools = MCPTools(url=url)
        box = Toolbox(tools.tools(), {"wait": ToolLimits(retries=0)})

        async def killed_meanwhile() -> None:
            waiting = asyncio.ensure_future(box.run(ParsedCall("wait", {"seconds": 60.0})))
            await box.run(ParsedCall("add", {"a": 1, "b": 1}))  # by now the slow call is on its way
            process.kill()
            await waiting

        with pytest.raises(InfrastructureError, match="MCP server"):
            asyncio.run(killed_meanwhile())
    port = int(url.split(":")[2].split("/")[0])
    with http_server(port) as (process, _):
        assert run(box, "pid").text == str(process.pid)
        process.kill()  # while nobody waits for it
        process.wait()
        with pytest.raises(InfrastructureError, match="MCP server"):
            run(box, "pid")
    with http_server(port) as (process, _):
        assert run(box, "pid").text == str(process.pid)
        tools.close()


@pytest.mark.parametrize("settings", [{}, {"command": ["python"], "url": "http://127.0.0.1:1/mcp"}])
def test_either_a_command_or_an_address_is_needed(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either command or url"):
        MCPTools(**settings)


@pytest.mark.parametrize(
    ("command", "message"),
    [(["python", "-c", "raise SystemExit('no license')"], "no license"), (["no-such"], "cannot run 'no-such'")],
)
def test_a_server_that_does_not_start_is_quoted(command: list[str], message: str) -> None:
    tools = MCPTools(command)
    with pytest.raises(ValueError, match=message):
        tools.tools()
    tools.close()


def test_a_tool_that_the_server_lacks_is_named_beside_those_that_it_has(source: MCPTools) -> None:
    tools = MCPTools(SERVER, include=["divide"])
    with pytest.raises(ValueError, match=r"no tool divide; it lists add, refuse"):
        tools.tools()
    tools.close()


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ImportError, match=r"lightning-agentrl\[mcp\]"):
        MCPTools(SERVER).tools()


# --- what is left behind -----------------------------------------------------------------------------------------


def test_closing_ends_the_server_and_the_thread(renamed: MCPTools) -> None:
    (ask,) = renamed.tools()
    server = int(asyncio.run(ask()).text)
    before = set(threading.enumerate())
    renamed.close()
    renamed.close()
    assert gone(server)
    assert "agentrl-mcp" in {thread.name for thread in before - set(threading.enumerate())}


ENDINGS = {
    "end": "",
    "exception": "raise RuntimeError",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
}
PROGRAM = """
import asyncio, os, signal, sys, threading
from lightning_agentrl.tools.mcp import MCPTools
tools = {tool.name: tool for tool in MCPTools([sys.executable, sys.argv[1]]).tools()}
print(asyncio.run(tools["pid"]()).text, flush=True)
threading.Thread(target=lambda: asyncio.run(tools["freeze"](seconds=600.0)), daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a hung server cannot be tied to its parent")
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_server_outlives_the_program_even_if_it_hangs(ending: str) -> None:
    program = PROGRAM + ENDINGS[ending]
    done = subprocess.run([sys.executable, "-c", program, mcp_server.__file__], capture_output=True, text=True)
    assert gone(int(done.stdout))


@pytest.mark.slow
def test_a_server_can_search_a_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "contents": "Oslo is in Norway."}\n{"id": "2", "contents": "Lima is in Peru."}\n')
    tools = MCPTools([*SERVER, "--corpus", str(corpus)])
    try:
        assert run(Toolbox(tools.tools()), "search", query="Norway").text == "Oslo is in Norway."
    finally:
        tools.close()
