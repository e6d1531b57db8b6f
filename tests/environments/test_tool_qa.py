"""Questions from files with any tools."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.environments.tool_qa import ToolQA
from lightning_agentrl.rewards.base import Bonus, Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rewards.tool_use import BothTools
from lightning_agentrl.testing.retriever import echo, scripted_server
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.fetch import FetchTool
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.retrieval import HTTPRetriever, PageFile
from lightning_agentrl.tools.search import SearchTool
from lightning_agentrl.tools.sources import ToolSource
from lightning_agentrl.types import Action, CallError, ParsedCall, Segment, Task, Trajectory, Turn

PASSAGES = ['"Osk"\nOsk was built by Ada Flint.', '"Ada Flint"\nAda Flint was born in 1931.']


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a + b


class Pair(ToolSource):
    """Gives two tools."""

    def tools(self) -> Sequence[Tool]:
        return (SearchTool(PASSAGES), add)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    row = {"question": "How old was the builder of Osk in 1940?", "answer": "9"}
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


Make = Callable[..., ToolQA]


@pytest.fixture
def make(questions: Path) -> Make:
    def make(*tools: Tool | ToolSource, **settings: Any) -> ToolQA:
        return ToolQA(questions, questions, tools or (SearchTool(PASSAGES), add), **settings)

    return make


def call(name: str, **arguments: Any) -> Action:
    return Action("", (ParsedCall(name, arguments),))


def play(environment: ToolQA, *actions: Action, answer: str) -> tuple[list[Any], Any]:
    """Observations of actions, and the verdict on the rollout that they and an answer make."""

    async def run() -> tuple[list[Any], Any]:
        (task,) = environment.tasks("train")
        episode = await environment.open(task, seed=0)
        seen = [await episode.step(action) for action in actions]
        turns = [Turn(Segment((1,), True, (-1.0,)), tool_calls=each.tool_calls) for each in seen]
        turns.append(Turn(Segment((1,), True, (-1.0,)), answer=answer))
        verdict = await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False), tuple(turns)))
        await episode.close()
        return seen, verdict

    return asyncio.run(run())


SEARCH, SUM = call("search", query="Ada Flint born"), call("add", a=1940, b=-1931)


def test_tools_of_different_kinds_serve_one_trajectory(make: Make) -> None:
    seen, verdict = play(make(), SEARCH, SUM, answer="9")
    assert seen[0].results[0].startswith(PASSAGES[1])
    assert seen[1].results == ("9",)
    assert verdict.outcome == 1.0


@pytest.mark.parametrize(
    ("actions", "answer", "shaped"),
    [
        ((SEARCH, SUM), "9", 1.1),
        ((SEARCH,), "9", 1.0),
        ((SEARCH, SUM), "8", 0.0),
        ((SEARCH, call("add", a=1)), "9", 1.0),
    ],
)
def test_both_tools_earn_arpos_bonus_where_the_answer_is_right(
    make: Make, actions: tuple[Action, ...], answer: str, shaped: float
) -> None:
    bonus = Bonus(BothTools(("search", "add")), weight=0.1, when="success")
    _, verdict = play(make(reward=Rewards(ExactMatch(), (bonus,))), *actions, answer=answer)
    assert verdict.shaped == pytest.approx(shaped)


def test_a_turn_earns_a_reward_when_the_answer_is_in_its_results(make: Make) -> None:
    seen, _ = play(make(turn_reward=0.3), SEARCH, SUM, answer="9")
    assert [each.reward for each in seen] == [0.0, 0.3]


def test_a_malformed_call_is_penalised_when_asked_for(make: Make) -> None:
    malformed = Action("", (ParsedCall("", {}, "not JSON", CallError.BAD_JSON),))
    seen, _ = play(make(invalid_call_penalty=0.1), malformed, answer="9")
    assert seen[0].penalty == 0.1


def test_a_source_gives_all_of_its_tools(make: Make) -> None:
    assert [each.name for each in make(Pair()).tools] == ["search", "add"]


def test_closing_before_anything_was_opened_asks_no_source_for_tools(make: Make) -> None:
    class Away(ToolSource):
        def tools(self) -> Sequence[Tool]:
            raise ValueError("the server is away")

    make(Away()).close()


def test_limits_are_set_by_the_name_of_a_tool(make: Make) -> None:
    seen, _ = play(make(limits={"search": ToolLimits(max_characters=9)}), SEARCH, answer="9")
    assert seen[0].results == ('"Ada Flin [cut off]',)


def test_questions_become_tasks_with_the_system_prompt_before_them(make: Make) -> None:
    asked = {"role": "user", "content": "How old was the builder of Osk in 1940?"}
    assert make(system_prompt="Use tools.").tasks("validation") == (
        Task("questions-1", ({"role": "system", "content": "Use tools."}, asked), ("9",), {}),
    )


def test_the_number_of_tasks_may_be_limited(make: Make, questions: Path) -> None:
    with questions.open("a") as file:
        file.write('{"question": "Who built Osk?", "answer": "Ada Flint"}\n')
    environment = make(max_train_tasks=1)
    assert (len(environment.tasks("train")), len(environment.tasks("validation"))) == (1, 2)


def test_a_server_that_is_not_there_is_noticed_before_a_run(make: Make) -> None:
    with scripted_server(echo) as server:
        environment = make(SearchTool(HTTPRetriever(server.url)))
        environment.prepare()
    with pytest.raises(ValueError, match="The retrieval server is not ready"):
        environment.prepare()


def test_pages_that_are_not_there_are_noticed_before_a_run(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of pages"):
        make(FetchTool(PageFile(tmp_path / "none.jsonl"))).prepare()


def test_questions_that_are_not_there_are_noticed_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no questions at .*none\.jsonl"):
        ToolQA(tmp_path / "none.jsonl", tmp_path / "none.jsonl", (add,)).prepare()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"toolset": ()}, "one tool at least"), ({"invalid_call_penalty": -0.1}, "must not be negative")],
)
def test_settings_that_make_no_sense_are_refused_at_construction(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ToolQA(**{"train": Path("x"), "validation": Path("x"), "toolset": (add,), **settings})
