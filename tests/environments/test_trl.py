"""Classes written for TRL: their methods as tools of one trajectory each, rows and prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trl_classes import Counter, call, environment, perform

from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.testing.treasure_hunt import TreasureHunt, rows
from lightning_agentrl.tools.base import InfrastructureError, ToolLimits
from lightning_agentrl.types import Action

# --- tools -------------------------------------------------------------------------------------------------------


def test_public_methods_with_documented_signatures_are_tools() -> None:
    tools = {tool.name: tool for tool in environment().tools}
    assert set(tools) == {"add", "later", "behave"}
    assert tools["add"].description == "Add to the count."
    assert tools["add"].parameters["properties"]["number"] == {"type": "integer", "description": "how much."}


def _lacking(method: Callable[..., Any]) -> Callable[[], Any]:
    return type("Lacking", (Counter,), {"tool": method})


def no_docstring(self: Any, number: int) -> str:
    return ""


def no_hint(self: Any, number) -> str:  # type: ignore[no-untyped-def]  # noqa: D417
    """Do something.

    Args:
        number: how much.
    """
    return ""


def no_description(self: Any, number: int) -> str:
    """Do something."""
    return ""


@pytest.mark.parametrize(
    ("method", "message"),
    [(no_docstring, "no docstring"), (no_hint, "type hints"), (no_description, "line per argument under `Args:`")],
)
def test_a_method_that_the_policy_could_not_be_told_about_is_refused_by_name(
    method: Callable[..., Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s)Lacking.tool cannot be a tool.*{message}.*hidden"):
        environment(_lacking(method)).prepare()


def test_a_hidden_method_is_no_tool() -> None:
    assert "tool" not in {tool.name for tool in environment(_lacking(no_docstring), hidden=["tool", "close"]).tools}


def test_each_trajectory_has_an_instance_of_its_own() -> None:
    made = environment()
    task = made.tasks("train")[0]

    async def run() -> tuple[str, ...]:
        first, second = await made.open(task, seed=0), await made.open(task, seed=0)
        heard = [await each.step(Action("…", (call("add", number=n),))) for each, n in ((first, 1), (second, 10))]
        return tuple(text for each in heard for text in each.results)

    assert asyncio.run(run()) == ("4", "13")


def test_calls_of_one_turn_run_one_after_another_in_their_order() -> None:
    (heard,), _ = perform(environment(), [call("later", number=1), call("add", number=1), call("later", number=1)])
    assert heard.results == ("now 4", "5", "now 6")


def test_an_instance_is_reset_and_used_again() -> None:
    made = environment()
    perform(made, [call("add", number=1)])
    before = Counter.made
    (heard,), _ = perform(made, [call("add", number=1)], task=1)
    assert heard.results == ("5",)
    assert Counter.made == before


@pytest.mark.parametrize(
    ("how", "text"),
    [("none", "None"), ("bytes", "raw"), ("half", "half ?"), ("blocks", "a\n[image]"), ("word", "word")],
)
def test_any_result_becomes_text_as_in_trl(how: str, text: str) -> None:
    (heard,), _ = perform(environment(), [call("behave", how=how)])
    assert heard.results == (text,)
    assert heard.tool_calls[0].ok


def test_a_method_that_raises_is_told_and_the_episode_goes_on() -> None:
    heard, reward = perform(environment(), [call("behave", how="raise")], [call("add", number=1)])
    assert heard[0].tool_calls[0].error_kind == "exception"
    assert "no way" in heard[0].results[0]
    assert reward.outcome == 4


def test_a_result_of_ten_megabytes_is_cut() -> None:
    (heard,), _ = perform(environment(), [call("behave", how="flood")])
    assert heard.tool_calls[0].truncated
    assert len(heard.results[0]) < 5000


def test_a_method_that_hangs_is_cut_off_and_its_instance_is_not_used_again() -> None:
    made = environment(limits=ToolLimits(timeout=0.1))
    made.prepare()
    before = Counter.made
    heard, _ = perform(made, [call("behave", how="hang"), call("add", number=1)])
    assert [each.error_kind for each in heard[0].tool_calls] == ["timeout", "exception"]
    assert "still running" in heard[0].results[1]
    perform(made, [call("add", number=1)])
    assert Counter.made == before + 1


def test_wrong_arguments_are_told_and_cost_what_they_are_made_to_cost() -> None:
    (heard,), _ = perform(environment(invalid_call_penalty=0.5), [call("add", number="many")])
    assert (heard.tool_calls[0].error_kind, heard.penalty) == ("wrong_type", 0.5)


# --- rows and prompts --------------------------------------------------------------------------------------------


def test_what_reset_says_ends_the_prompt_and_all_columns_are_handed_to_it() -> None:
    made = TRLEnvironment(TreasureHunt, rows=rows)
    task = made.tasks("train")[2]
    trail = task.meta["trail"]
    assert task.messages == ({"role": "user", "content": f"Find the coin and take it. Start with {trail[0]}."},)
    assert (len(trail), task.meta["hops"]) == (3, 3)


def test_rows_come_from_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Count."}]
    good = [{"prompt": "Count.", "start": 1}, {"prompt": chat, "id": "named", "answer": ["a", "b"]}]
    lines = [json.dumps(row) for row in good]
    path.write_text("\n".join([*lines, '{"prompt": 3}', '{"prompt": []}', "{", '{"prompt": "half \\ud800"}']))
    made = TRLEnvironment(Counter, train=path, validation=path, answer_column="answer")
    with pytest.warns(UserWarning, match="Skipped 4 bad rows"):
        first, second = made.tasks("train")
    assert (first.id, second.id) == ("0", "named")
    assert second.messages == tuple(chat)
    assert second.answers == ("a", "b")


def test_a_class_that_owns_the_data_needs_no_prompt() -> None:
    class Owner(Counter):
        def reset(self, **columns: Any) -> str:
            return f"Task {columns['seed']}"

    (task,) = environment(Owner, [{"seed": 5}]).tasks("train")
    assert task.messages == ({"role": "user", "content": "Task 5"},)


def test_a_reset_that_does_not_follow_from_the_row_is_refused() -> None:
    class Fickle(Counter):
        def reset(self, **columns: Any) -> str:
            self.add(1)
            return f"start {self.count}"

    made = environment(Fickle)
    with pytest.raises(ValueError, match="must follow from the columns"):
        perform(made)


def test_a_reset_that_speaks_though_it_should_not_is_refused() -> None:
    made = TRLEnvironment(TreasureHunt, rows=rows, reset_speaks=False)
    with pytest.raises(ValueError, match="reset_speaks: true"):
        perform(made)


@pytest.mark.parametrize("said", [7, b"x", ["x"]])
def test_a_reset_that_says_something_else_than_text_is_refused(said: Any) -> None:
    strange = type("Strange", (Counter,), {"reset": lambda self, **columns: said})
    with pytest.raises(ValueError, match=r"Strange.reset fails for row 0: .*text or None"):
        environment(strange).prepare()


def test_a_reset_that_fails_at_a_rollout_is_no_fault_of_the_policy() -> None:
    class Dead(Counter):
        def reset(self, **columns: Any) -> str | None:
            raise ConnectionError("no answer")

    made = environment(Dead, reset_speaks=False)
    with pytest.raises(InfrastructureError, match=r"Dead\.reset failed with ConnectionError: no answer"):
        perform(made)
