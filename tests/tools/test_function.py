"""Functions as tools."""

import asyncio
import threading

from lightning_agentrl.tools.base import Tool
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
