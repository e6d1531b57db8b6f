"""The search environment on the data that make-data writes."""

import asyncio
from pathlib import Path
from typing import Any

import psutil
import pytest

from lightning_agentrl.environments.make_data import make_data
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.token_f1 import TokenF1
from lightning_agentrl.testing.retriever import echo, scripted_server
from lightning_agentrl.tools.retrieval import HTTPRetriever, PageServer
from lightning_agentrl.types import Action, CallError, ParsedCall, Reward, Segment, Task, ToolCall, Trajectory, Turn

X = Path("x")
FILES = {"data_dir": None, "train": X, "validation": X}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "synthetic"
    make_data("synthetic", out, questions=40, validation=16, demonstrations=16)
    return out


@pytest.fixture(scope="module")
def pages_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pages"
    make_data("pages", out, questions=40, validation=12, demonstrations=12)
    return out


def call(name: str, **arguments: Any) -> Action:
    return Action("", (ParsedCall(name, arguments),))


def play(environment: SearchQA, task: Task, *actions: Action, answer: str | None = None) -> tuple[list[Any], Reward]:
    """Observations of actions, and the verdict on a rollout that gives an answer in the end."""

    async def run() -> tuple[list[Any], Reward]:
        episode = await environment.open(task, seed=0)
        seen = [await episode.step(action) for action in actions]
        said = Turn(Segment((1,), True, (-1.0,)), answer=answer)
        verdict = await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False), (said,)))
        await episode.close()
        return seen, verdict

    return asyncio.run(run())


def test_following_the_canonical_queries_leads_to_the_answer(data_dir: Path) -> None:
    environment = SearchQA(data_dir)
    for task in environment.tasks("validation"):
        queries, path = task.meta["queries"], task.meta["path"]
        seen, reward = play(environment, task, *(call("search", query=query) for query in queries), answer=path[-1])
        for observation, entity in zip(seen, path[1:], strict=True):
            assert observation.results[0].split("\n")[1].endswith(f" is {entity}.")
        assert reward == Reward(1.0, 1.0, {"exact_match": 1.0, "answered": 1.0})


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
        seen, _ = play(environment, task, call("search", query=task.meta["queries"][0]))
        assert seen[0].results[0].count("\n") == 2 * top_k - 1  # title and text of each


def test_the_outcome_may_be_token_f1(data_dir: Path) -> None:
    environment = SearchQA(data_dir, reward=Rewards(TokenF1()))
    task = environment.tasks("train")[0]
    # One of two words is right, the only golden word is found: F1 = 2/3.
    assert play(environment, task, answer=f"{task.answers[0]} Smith")[1].outcome == pytest.approx(2 / 3)


def test_a_turn_earns_a_reward_when_the_answer_is_in_its_results(data_dir: Path) -> None:
    environment = SearchQA(data_dir, turn_reward=0.3)
    task = next(task for task in environment.tasks("train") if task.meta["hops"] == 2)
    actions = [call("search", query=query) for query in (task.meta["queries"][-1], "zzz")]
    assert [seen.reward for seen in play(environment, task, *actions)[0]] == [0.3, 0.0]


def test_an_error_that_quotes_the_answer_earns_no_turn_reward(data_dir: Path) -> None:
    environment = SearchQA(data_dir, turn_reward=0.3)
    task = environment.tasks("train")[0]
    seen, _ = play(environment, task, call(task.answers[0]))
    assert (task.answers[0] in seen[0].results[0], seen[0].reward) == (True, 0.0)


def test_a_malformed_call_is_penalised_when_asked_for(data_dir: Path) -> None:
    environment = SearchQA(data_dir, invalid_call_penalty=0.1)
    malformed = Action("", (ParsedCall("", {}, "not JSON", CallError.BAD_JSON),))
    seen, _ = play(environment, environment.tasks("train")[0], malformed)
    assert seen[0].penalty == 0.1


def test_a_branch_resumes_without_searching_again(data_dir: Path) -> None:
    before = Turn(Segment((1,), True, (-1.0,)), Segment((2,), False), (ToolCall("search", {"query": "before"}),))

    async def run(environment: SearchQA) -> None:
        (task, *_) = environment.tasks("train")
        episode = await environment.resume(task, 0, (before,))
        await episode.step(call("search", query="behind"))
        await episode.close()

    with scripted_server(echo) as server:
        asyncio.run(run(SearchQA(data_dir, retriever=HTTPRetriever(server.url))))
        assert [asked["queries"] for asked in server.asked] == [["behind"]]


def test_pages_are_searched_opened_and_lead_to_the_answer(pages_dir: Path) -> None:
    environment = SearchQA(pages_dir, show="snippets", snippet_characters=0, fetch=True)
    environment.prepare()
    assert [tool.name for tool in environment.tools] == ["search", "fetch"]
    for task in environment.tasks("validation"):
        for query, entity in zip(task.meta["queries"], task.meta["path"][1:], strict=True):
            (seen,), _ = play(environment, task, call("search", query=query))
            first = seen.results[0].split("\n")[0]
            assert first.endswith(f"] {query}")  # the title tells nothing yet
            (seen,), _ = play(environment, task, call("fetch", id=first[1 : first.index("]")]))
            assert f" is {entity}." in seen.results[0]


def test_pages_may_come_from_a_server(data_dir: Path) -> None:
    with scripted_server(lambda path, body: (200, {"result": [{"contents": "a page"}]})) as server:
        environment = SearchQA(data_dir, fetch=True, pages=PageServer(server.url))
        (seen,), _ = play(environment, environment.tasks("train")[0], call("fetch", id="7"))
        assert seen.results == ("a page",)


def test_with_a_retriever_no_corpus_is_needed(data_dir: Path, tmp_path: Path) -> None:
    files = {"train": data_dir / "train.jsonl", "validation": data_dir / "validation.jsonl"}
    with scripted_server(echo) as server:
        environment = SearchQA(**files, retriever=HTTPRetriever(server.url))
        environment.prepare()
        (seen,), _ = play(environment, environment.tasks("train")[0], call("search", query="Osk"))
        assert seen.results == ('"Osk"\nabout Osk',)


def test_a_retriever_that_is_not_there_is_noticed_before_a_run(data_dir: Path) -> None:
    with scripted_server(echo) as server:
        url = server.url
    with pytest.raises(ValueError, match="The retrieval server is not ready"):
        SearchQA(data_dir, retriever=HTTPRetriever(url)).prepare()


def test_serving_finds_what_searching_here_finds_and_closing_ends_it(data_dir: Path) -> None:
    here, served = SearchQA(data_dir), SearchQA(data_dir, serve=True)
    (task, *_) = here.tasks("train")
    actions = [call("search", query=query) for query in task.meta["queries"]]
    started = set(psutil.Process().children())
    try:
        served.prepare()
        assert len(set(psutil.Process().children()) - started) == 1
        assert [seen.results for seen in play(served, task, *actions)[0]] == [
            seen.results for seen in play(here, task, *actions)[0]
        ]
    finally:
        served.close()
    assert set(psutil.Process().children()) == started


def test_closing_ends_a_server_that_nobody_has_searched_with_yet(data_dir: Path) -> None:
    started = set(psutil.Process().children())
    served = SearchQA(data_dir, serve=True)
    served.prepare()  # the run fails behind it, before any episode
    served.close()
    assert set(psutil.Process().children()) == started


def test_files_may_be_named_one_by_one(data_dir: Path, tmp_path: Path) -> None:
    environment = SearchQA(
        corpus=data_dir / "corpus.jsonl", train=data_dir / "validation.jsonl", validation=data_dir / "train.jsonl"
    )
    environment.prepare()
    assert len(environment.tasks("train")) == 16


def test_questions_may_be_in_another_layout(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "nq.jsonl").write_text('{"question": "who built osk", "answer": ["Ada"]}\n')
    environment = SearchQA(data_dir, train=tmp_path / "nq.jsonl")
    assert environment.tasks("train") == (Task("nq-1", ({"role": "user", "content": "who built osk"},), ("Ada",), {}),)


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
        ({"serve": True, "retriever": HTTPRetriever("http://127.0.0.1:8000")}, "set serve or retriever"),
        ({**FILES, "corpus": X, "world": "pages"}, "which is not set"),
        ({**FILES, "retriever": HTTPRetriever("http://x"), "fetch": True}, "each of train, validation, corpus"),
        ({"invalid_call_penalty": -1.0}, "must not be negative"),
        ({"data_dir": None, "corpus": Path("c.jsonl")}, "needs data_dir, or each of"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_construction(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SearchQA(**{"data_dir": Path("somewhere"), **options})
