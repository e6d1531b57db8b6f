"""Groups that search the same server at the same time, and what a failing server does to each of them."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.testing.retriever import Answer, echo, scripted_server
from lightning_agentrl.tools import toolbox
from lightning_agentrl.tools.base import ToolLimits
from lightning_agentrl.tools.retrieval import HTTPRetriever
from lightning_agentrl.types import Trajectory

NAMES = ("osk", "lund")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = ({"id": name, "question": f"what is {name}", "golden_answers": [name]} for name in NAMES)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def roll_out(questions: Path, answer: Answer, **settings: Any) -> tuple[list[Trajectory], Failures, Sequence[Any]]:
    """Two groups of four, each of which searches for the name in its question and answers with what it found."""
    tokenizer, chat, failures = train_tokenizer(["search", "about"] * 2, 320), HermesFormat(), Failures()

    def speak(ids: list[int], params: SamplingParams) -> list[int]:
        text = str(tokenizer.decode(ids))
        (name,) = (name for name in NAMES if f"what is {name}" in text)
        call = f'<tool_call>{{"name": "search", "arguments": {{"query": "{name}"}}}}</tool_call>'
        found = f"about {name}" in text
        return chat.action(tokenizer, f"<answer> {name} </answer>" if found else call)

    with scripted_server(answer) as server:
        retriever = HTTPRetriever(server.url, wait=0.05, timeout=0.5)
        environment = SearchQA(train=questions, validation=questions, retriever=retriever, **settings)
        sampler = Sampler(
            ScriptedEngine(speak, tokenizer=tokenizer), environment, chat, Independent(), tokenizer, Limits(4, 100, 900)
        )
        jobs = [Job(task, number, 4) for number, task in enumerate(environment.tasks("train"))]
        done = asyncio.run(sampler.collect(jobs, temperature=1.0, seed=0, epoch=0, failures=failures))
        environment.close()
        return done, failures, list(server.asked)


def test_groups_share_requests_and_each_gets_its_own_results(questions: Path) -> None:
    done, failures, asked = roll_out(questions, echo)
    assert [(each.task.id, each.outcome) for each in done] == [(name, 1.0) for name in NAMES for _ in range(4)]
    assert [sorted(body["queries"]) for body in asked] == [["lund"] * 4 + ["osk"] * 4]
    assert not failures.dropped


def test_shared_results_stay_within_their_group(questions: Path) -> None:
    done, _, asked = roll_out(questions, echo, limits=ToolLimits(cached=True))
    assert [each.outcome for each in done] == [1.0] * 8
    assert sorted(query for body in asked for query in body["queries"]) == ["lund", "osk"]


@pytest.mark.parametrize("reply", [(500, {"detail": "no"}), (200, b"<html>"), (200, {"result": []})])
def test_a_query_that_a_server_cannot_answer_drops_its_own_group_alone(
    questions: Path, reply: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fussy(path: str, body: Any) -> tuple[int, Any]:
        return reply if "osk" in body["queries"] else echo(path, body)

    monkeypatch.setattr(toolbox, "FIRST_WAIT", 0.001)
    done, failures, _ = roll_out(questions, fussy)
    assert failures.dropped == [0]
    assert [(each.task.id, each.outcome) for each in done] == [("lund", 1.0)] * 4
