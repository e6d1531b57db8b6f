"""The search environment on the data that make-data writes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.environments.make_data import make_data
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.tools.base import ToolResult
from lightning_agentrl.tools.search import SearchTool
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Task, ToolCall, Trajectory, Turn


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "synthetic"
    make_data("synthetic", out, questions=40, validation=16, demonstrations=16)
    return out


def play(environment: SearchQA, task: Task, *actions: Action) -> tuple[list[Any], Reward]:
    async def run() -> tuple[list[Any], Reward]:
        episode = await environment.open(task, seed=0)
        seen = [await episode.step(action) for action in actions]
        return seen, await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False)))

    return asyncio.run(run())


def test_following_the_canonical_queries_leads_to_the_answer(data_dir: Path) -> None:
    environment = SearchQA(data_dir)
    for task in environment.tasks("validation"):
        queries, path = task.meta["queries"], task.meta["path"]
        actions = [Action("", (ParsedCall("search", {"query": query}),)) for query in queries]
        seen, reward = play(environment, task, *actions, Action(f"<answer>{path[-1]}</answer>"))
        for observation, entity in zip(seen, path[1:], strict=False):
            assert observation.results[0].split("\n")[1].endswith(f" is {entity}.")
        assert reward == Reward(1.0, 1.0, {"exact_match": 1.0, "token_f1": 1.0, "answered": 1.0})


def test_tasks_keep_the_order_of_the_file_and_may_be_limited(data_dir: Path) -> None:
    environment = SearchQA(data_dir, max_validation_tasks=5, max_train_tasks=3)
    assert [task.meta["hops"] for task in environment.tasks("validation")] == [1, 2, 3, 4, 1]
    assert [task.id for task in environment.tasks("train")] == ["train-0", "train-1", "train-2"]


def test_a_system_prompt_comes_first(data_dir: Path) -> None:
    messages = SearchQA(data_dir, system_prompt="Search.").tasks("train")[0].messages
    assert [message["role"] for message in messages] == ["system", "user"]


def test_top_k_limits_the_passages(data_dir: Path) -> None:
    for top_k in (1, 2):
        environment = SearchQA(data_dir, top_k=top_k)
        task = environment.tasks("train")[0]
        seen, _ = play(environment, task, Action("", (ParsedCall("search", {"query": task.meta["queries"][0]}),)))
        assert seen[0].results[0].count("\n") == 2 * top_k - 1  # title and text of each


def test_the_outcome_may_be_token_f1(data_dir: Path) -> None:
    environment = SearchQA(data_dir, reward="token_f1")
    task = environment.tasks("train")[0]
    # One of two words is right, the only golden word is found: F1 = 2/3.
    assert play(environment, task, Action(f"<answer>{task.answers[0]} Smith</answer>"))[1].outcome == pytest.approx(
        2 / 3
    )


def test_a_turn_earns_a_reward_when_the_answer_is_in_its_results(data_dir: Path) -> None:
    environment = SearchQA(data_dir, turn_reward=0.3)
    task = next(task for task in environment.tasks("train") if task.meta["hops"] == 2)
    actions = [Action("", (ParsedCall("search", {"query": query}),)) for query in (task.meta["queries"][-1], "zzz")]
    assert [seen.reward for seen in play(environment, task, *actions)[0]] == [0.3, 0.0]


def test_an_error_that_quotes_the_answer_earns_no_turn_reward(data_dir: Path) -> None:
    environment = SearchQA(data_dir, turn_reward=0.3)
    task = environment.tasks("train")[0]
    seen, _ = play(environment, task, Action("", (ParsedCall(task.answers[0], {}),)))
    assert (task.answers[0] in seen[0].results[0], seen[0].reward) == (True, 0.0)


def test_a_malformed_call_is_penalised_when_asked_for(data_dir: Path) -> None:
    environment = SearchQA(data_dir, invalid_call_penalty=0.1)
    seen, _ = play(environment, environment.tasks("train")[0], Action("", (ParsedCall("", {}, "not JSON"),)))
    assert seen[0].penalty == 0.1


def test_a_branch_resumes_without_searching_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def lookup(tool: SearchTool, query: str) -> ToolResult:
        searched.append(query)
        return ToolResult("found")

    monkeypatch.setattr(SearchTool, "lookup", lookup)
    environment = SearchQA(data_dir)
    (task, *_) = environment.tasks("train")
    before = Turn(Segment((1,), True, (-1.0,)), Segment((2,), False), (ToolCall("search", {"query": "before"}),))

    async def run() -> Reward:
        episode = await environment.resume(task, 0, (before,))
        await episode.step(Action("", (ParsedCall("search", {"query": "behind"}),)))
        await episode.step(Action(f"<answer>{task.answers[0]}</answer>"))
        return await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False)))

    assert asyncio.run(run()).outcome == 1.0
    assert searched == ["behind"]


def test_files_may_be_named_one_by_one(data_dir: Path, tmp_path: Path) -> None:
    environment = SearchQA(
        corpus=data_dir / "corpus.jsonl", train=data_dir / "validation.jsonl", validation=data_dir / "train.jsonl"
    )
    environment.prepare()
    assert len(environment.tasks("train")) == 16


@pytest.mark.parametrize("missing", ["corpus", "train", "validation"])
def test_a_missing_file_is_noticed_early_and_the_error_says_how_to_make_it(
    data_dir: Path, tmp_path: Path, missing: str
) -> None:
    for name in {"corpus", "train", "validation"} - {missing}:
        (tmp_path / f"{name}.jsonl").write_bytes((data_dir / f"{name}.jsonl").read_bytes())
    with pytest.raises(ValueError, match=rf"no {missing} file at .* with `agentrl make-data --world synthetic --out"):
        SearchQA(tmp_path).prepare()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"reward": "bleu"}, "reward must be one of exact_match, token_f1"),
        ({"invalid_call_penalty": -1.0}, "must not be negative"),
        ({"data_dir": None, "corpus": Path("c.jsonl")}, "needs data_dir, or each of"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_construction(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SearchQA(**{"data_dir": Path("somewhere"), **options})
