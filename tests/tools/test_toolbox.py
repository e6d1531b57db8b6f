"""Toolboxes: turns, repetitions, shared results, and limits by name."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lightning_agentrl.tools import toolbox as module
from lightning_agentrl.tools.base import InfrastructureError, Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import ParsedCall

WORD = {"type": "object", "properties": {"word": {"type": "string"}}}


class Counted(Tool):
    """Counts its calls, and how many ran at the same time."""

    name = "counted"
    description = "Counts."
    parameters = WORD

    def __init__(self, behaviour: Callable[[int], Any] = str) -> None:
        self.behaviour = behaviour
        self.calls = self.running = self.most = 0

    async def __call__(self, **arguments: Any) -> Any:
        self.calls += 1
        number = self.calls
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001)
            return self.behaviour(number)
        finally:
            self.running -= 1


def call(word: str = "a") -> ParsedCall:
    return ParsedCall("counted", {"word": word})


def run(tool: Tool, limits: ToolLimits, *words: str, group: str | None = None) -> list[ToolResult]:
    box = Toolbox([tool], {"counted": limits})

    async def all_at_once() -> list[ToolResult]:
        if group is not None:
            box.enter(group)
        return await asyncio.gather(*(box.run(call(word), group) for word in words))

    return asyncio.run(all_at_once())


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (None, 8)])
def test_calls_take_turns(concurrency: int | None, most: int) -> None:
    tool = Counted()
    run(tool, ToolLimits(concurrency=concurrency), *"abcdefgh")
    assert tool.most == most


def test_waiting_for_its_turn_does_not_count_against_the_time_of_a_call() -> None:
    tool = Counted()
    results = run(tool, ToolLimits(concurrency=1, timeout=0.05), *map(str, range(100)))
    assert all(result.ok for result in results)


def test_one_toolbox_takes_turns_in_every_event_loop() -> None:
    box = Toolbox([Counted()], {"counted": ToolLimits(concurrency=1)})

    async def several() -> list[ToolResult]:
        return await asyncio.gather(*(box.run(call(word)) for word in "abc"))

    assert all(result.ok for _ in range(2) for result in asyncio.run(several()))


def breaks(until: int) -> Callable[[int], str]:
    def behaviour(number: int) -> str:
        if number <= until:
            raise InfrastructureError("no connection")
        return "fine"

    return behaviour


def test_a_call_whose_machinery_failed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.0)
    tool = Counted(breaks(until=2))
    assert run(tool, ToolLimits(retries=2), "a")[0].text == "fine"


def test_machinery_that_goes_on_failing_is_no_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.0)
    tool = Counted(breaks(until=9))
    with pytest.raises(InfrastructureError, match="no connection"):
        run(tool, ToolLimits(retries=2), "a")
    assert tool.calls == 3


def test_a_failure_of_the_tool_itself_is_not_repeated() -> None:
    tool = Counted(lambda number: 1 // 0)
    assert run(tool, ToolLimits(retries=2), "a")[0].error_kind == "exception"
    assert tool.calls == 1


def test_a_tool_that_cancels_itself_is_a_failing_tool() -> None:
    def cancels(number: int) -> str:
        raise asyncio.CancelledError

    assert run(Counted(cancels), ToolLimits(), "a")[0].error_kind == "exception"


def test_a_group_shares_results_of_equal_calls_even_while_they_run() -> None:
    tool = Counted()
    results = run(tool, ToolLimits(cached=True), "a", "a", "b", "a", group="g")
    assert (tool.calls, [result.text for result in results]) == (2, ["1", "1", "2", "1"])


@pytest.mark.parametrize(("limits", "group"), [(ToolLimits(cached=True), None), (ToolLimits(), "g")])
def test_nothing_is_shared_without_a_group_or_where_the_tool_does_not_say_so(
    limits: ToolLimits, group: str | None
) -> None:
    tool = Counted()
    run(tool, limits, "a", "a", group=group)
    assert tool.calls == 2


def test_groups_do_not_share_with_one_another() -> None:
    tool = Counted()
    box = Toolbox([tool], {"counted": ToolLimits(cached=True)})

    async def two() -> None:
        for group in "gh":
            box.enter(group)
            await box.run(call(), group)

    asyncio.run(two())
    assert tool.calls == 2


def test_a_failure_is_not_shared() -> None:
    def once(number: int) -> str:
        if number == 1:
            raise OSError("bad luck")
        return "fine"

    tool = Counted(once)
    box = Toolbox([tool], {"counted": ToolLimits(cached=True)})

    async def one_after_the_other() -> list[ToolResult]:
        box.enter("g")
        return [await box.run(call(), "g") for _ in range(3)]

    assert [result.ok for result in asyncio.run(one_after_the_other())] == [False, True, True]
    assert tool.calls == 2


def test_what_a_group_shared_goes_with_its_last_trajectory() -> None:
    tool = Counted()
    box = Toolbox([tool], {"counted": ToolLimits(cached=True)})

    async def come_and_go() -> list[int]:
        seen = []
        box.enter("g")
        box.enter("g")
        for leaves in (1, 1):
            await box.run(call(), "g")
            seen.append(tool.calls)
            box.leave("g")
            assert leaves
        box.enter("g")
        await box.run(call(), "g")
        return [*seen, tool.calls]

    assert asyncio.run(come_and_go()) == [1, 1, 2]


def test_who_gives_up_does_not_end_a_shared_call_for_the_others() -> None:
    tool = Counted()
    box = Toolbox([tool], {"counted": ToolLimits(cached=True)})

    async def one_leaves() -> ToolResult:
        box.enter("g")
        first, second = (asyncio.ensure_future(box.run(call(), "g")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(one_leaves()).ok
    assert tool.calls == 1


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names of their own, got counted, counted"):
        Toolbox([Counted(), Counted()])


def test_limits_of_a_tool_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="not there: searhc; there are counted"):
        Toolbox([Counted()], {"searhc": ToolLimits()})


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"max_characters": 0}, {"concurrency": 0}, {"retries": -1}])
def test_limits_that_allow_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ToolLimits(**wrong)
