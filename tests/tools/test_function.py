"""Functions as tools."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.function import tool


@tool
def add(first: int, second: int = 1) -> str:
    """Add two numbers.

    Args:
        first: one number.
        second: another one.
    """
    return f"{first + second} {threading.current_thread() is threading.main_thread()}"


def test_the_schema_comes_from_hints_and_docstring() -> None:
    assert (add.name, add.description) == ("add", "Add two numbers.")
    assert add.parameters["properties"]["first"] == {"type": "integer", "description": "one number."}
    assert list(add.parameters["required"]) == ["first"]


def test_a_decorated_function_is_a_tool() -> None:
    assert isinstance(add, Tool)


def test_a_function_that_is_not_async_runs_off_the_main_thread() -> None:
    assert asyncio.run(add(first=2)) == "3 False"


def test_an_async_function_is_awaited() -> None:
    @tool
    async def echo(text: str) -> str:
        """Say it again.

        Args:
            text: what to say.
        """
        return text

    assert asyncio.run(echo(text="hi")) == "hi"


def test_limits_come_with_the_decorator() -> None:
    @tool(limits=ToolLimits(timeout=5, cached=True))
    def echo(text: str) -> str:
        """Say it again.

        Args:
            text: what to say.
        """
        return text

    assert (echo.limits.timeout, echo.limits.cached, echo.name) == (5, True, "echo")


def undocumented(query: str) -> str:
    return query


def without_hint(query) -> str:  # type: ignore[no-untyped-def]
    """Search.

    Args:
        query: what for.
    """
    return str(query)


def argument_not_described(query: str, count: int) -> str:  # noqa: D417
    """Search.

    Args:
        query: what for.
    """
    return query * count


def takes_anything(**query: str) -> str:
    """Search.

    Args:
        query: what for.
    """
    return str(query)


@pytest.mark.parametrize(
    ("function", "lacks"),
    [
        (undocumented, "Tool 'undocumented' has no docstring"),
        (without_hint, "Tool 'without_hint' needs type hints"),
        (argument_not_described, "Tool 'argument_not_described' needs a line per argument"),
        (takes_anything, r"Tool 'takes_anything' takes \*\*query"),
    ],
)
def test_what_the_policy_could_not_be_told_is_refused_at_once(function: Callable[..., str], lacks: str) -> None:
    with pytest.raises(ValueError, match=lacks):
        tool(function)


def test_the_name_of_the_return_value_is_no_argument() -> None:
    assert "return" not in add.described


def test_a_tool_that_ends_the_process_only_ends_its_call() -> None:
    @tool
    def leave() -> str:
        """Leave."""
        sys.exit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        asyncio.run(leave())


def test_slow_functions_of_many_trajectories_do_not_queue() -> None:
    everyone = threading.Barrier(64, timeout=20)  # passes once 64 calls run at the same time

    @tool
    def meet() -> int:
        """Wait for the others."""
        return everyone.wait()

    async def run() -> list[int]:
        return await asyncio.gather(*(meet() for _ in range(64)))

    assert sorted(asyncio.run(run())) == list(range(64))


def test_a_function_that_never_returns_does_not_keep_the_process_alive() -> None:
    source = """
import asyncio, threading
from lightning_agentrl.tools.threads import in_thread

async def run():
    try:
        async with asyncio.timeout(0.05):
            await in_thread(threading.Event().wait)
    except TimeoutError:
        print("gave up")

asyncio.run(run())
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "gave up\n"
