"""Mathematics with tools: problems become tasks, answers verdicts, and what tools get to see."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from problems import SMALL, written

from lightning_agentrl.environments.base import Observation
from lightning_agentrl.environments.math_data import FILES
from lightning_agentrl.environments.math_qa import MathQA
from lightning_agentrl.environments.math_rows import MathColumns
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rewards.token_f1 import TokenF1
from lightning_agentrl.tools.base import ToolLimits
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.python import PythonTool
from lightning_agentrl.tools.sandbox import SandboxSettings, SandboxUnavailable
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Task, Trajectory, Turn

EXACT = Rewards(ExactMatch())


@tool
def calculator(expression: str) -> str:
    """Compute.

    Args:
        expression: what to compute.
    """
    return str(eval(expression))


def call(name: str, **arguments: Any) -> Action:
    return Action("…", (ParsedCall(name, arguments),))


def play(environment: MathQA, task: Task, *actions: Action) -> tuple[list[Observation], Reward]:
    async def run() -> tuple[list[Observation], Reward]:
        episode = await environment.open(task, seed=0)
        seen = [await episode.step(action) for action in actions]
        turns = tuple(Turn(Segment((1,), True, (-1.0,)), text=said.text, answer=said.answer) for said in actions)
        verdict = await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False), turns))
        await episode.close()
        return seen, verdict

    return asyncio.run(run())


def test_following_the_steps_leads_to_the_answer(math_dir: Path, python: PythonTool) -> None:
    environment = MathQA(math_dir, SMALL, toolset=[python])
    for task in environment.tasks("validation"):
        actions = [call("python", code=f"print({step})") for step in task.meta["steps"]]
        seen, reward = play(environment, task, *actions, Action("", answer=task.answers[0]))
        assert seen[len(actions) - 1].results == (f"{task.answers[0]}\n",)
        assert (reward.outcome, reward.components) == (1.0, {"exact_match": 1.0, "answered": 1.0})


def test_the_python_interpreter_is_what_there_is_without_a_set_of_tools(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL)
    try:
        (only,) = environment.tools
    except SandboxUnavailable as reason:
        pytest.skip(str(reason))
    assert isinstance(only, PythonTool)
    assert environment.tools[0] is only  # one sandbox for all


def test_other_tools_and_limits_can_be_set(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, toolset=[calculator], limits={"calculator": ToolLimits(max_characters=2)})
    seen, _ = play(environment, environment.tasks("train")[0], call("calculator", expression="111 * 4"))
    assert seen[0].results == ("44 [cut off]",)


EVERYTHING = """
import gc, sys, os
for thing in gc.get_objects():
    try:
        print(repr(thing)[:2000])
    except BaseException:
        pass
frame = sys._getframe()
while frame:
    print(frame.f_locals, frame.f_globals)
    frame = frame.f_back
print(os.environ, sys.argv)
"""


def test_the_expected_answer_never_enters_the_sandbox(python: PythonTool, tmp_path: Path) -> None:
    secret = "31415926535897"
    path = written(tmp_path / "train.jsonl", [{"problem": "Which number do I think of?", "answer": secret}])
    most = 10**7
    curious = PythonTool(SandboxSettings(max_output=most, timeout=60.0), ToolLimits(max_characters=most))
    environment = MathQA(train=path, validation=path, toolset=[curious], reward=EXACT)
    seen, _ = play(environment, environment.tasks("train")[0], call("python", code=EVERYTHING))
    environment.close()
    assert "print(repr(thing)" in seen[0].results[0]  # it saw its own source
    assert secret not in seen[0].results[0]


def test_a_turn_earns_a_reward_when_a_tool_returns_the_answer(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, toolset=[calculator], turn_reward=0.3)
    (task, *_) = environment.tasks("train")
    actions = [call("calculator", expression=text) for text in (task.answers[0], "0 - 1", f"{{}}[{task.answers[0]}]")]
    seen = play(environment, task, *actions)[0]
    assert f"KeyError: {task.answers[0]}" in seen[2].results[0]  # an error that quotes the answer earns nothing
    assert [observation.reward for observation in seen] == [0.3, 0.0, 0.0]


def test_an_invalid_call_is_penalised_and_a_failing_program_is_not(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, toolset=[calculator], invalid_call_penalty=0.1)
    actions = [call("calculator", expression="1 / 0"), call("calculator", code="1"), call("python", code="1")]
    assert [seen.penalty for seen in play(environment, environment.tasks("train")[0], *actions)[0]] == [0.0, 0.1, 0.1]


def test_whether_turns_earn_anything_is_known_beforehand(math_dir: Path) -> None:
    given = [{}, {"turn_reward": 0.1}, {"invalid_call_penalty": 0.1}]
    assert [MathQA(math_dir, SMALL, **options).gives_turn_rewards for options in given] == [False, True, True]


def test_generated_answers_are_compared_exactly_and_others_as_mathematics(math_dir: Path) -> None:
    pytest.importorskip("math_verify")
    exact, equal = MathQA(math_dir, SMALL, toolset=[calculator]), MathQA(math_dir, toolset=[calculator])
    (task, *_) = exact.tasks("train")
    said = Action("", answer=f"{task.answers[0]} / 1")
    verdicts = [play(environment, task, said)[1].outcome for environment in (exact, equal)]
    equal.close()
    assert verdicts == [0.0, 1.0]


def test_the_verdict_can_be_set(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, toolset=[calculator], reward=Rewards(TokenF1()))
    (task, *_) = environment.tasks("train")
    # One of two words is right, the only golden word is found: F1 = 2/3.
    said = Action("", answer=f"{task.answers[0]} pens")
    assert play(environment, task, said)[1].outcome == pytest.approx(2 / 3)


def test_a_system_prompt_comes_first_and_tasks_may_be_limited(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, system_prompt="Compute.", max_train_tasks=3, max_validation_tasks=2)
    assert [message["role"] for message in environment.tasks("train")[0].messages] == ["system", "user"]
    assert (len(environment.tasks("train")), len(environment.tasks("validation"))) == (3, 2)


def test_a_branch_resumes_without_computing_again(math_dir: Path) -> None:
    computed: list[str] = []

    @tool
    def compute(expression: str) -> str:
        """Compute.

        Args:
            expression: what to compute.
        """
        computed.append(expression)
        return "1"

    environment = MathQA(math_dir, SMALL, toolset=[compute])
    before = Turn(Segment((1,), True, (-1.0,)), Segment((2,), False))

    async def run() -> None:
        episode = await environment.resume(environment.tasks("train")[0], 0, (before,))
        await episode.step(call("compute", expression="behind"))
        await episode.close()

    asyncio.run(run())
    assert computed == ["behind"]


def test_preparing_writes_the_problems_once(tmp_path: Path) -> None:
    environment = MathQA(tmp_path, SMALL, toolset=[calculator])
    environment.prepare()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES}
    MathQA(tmp_path, SMALL, toolset=[calculator]).prepare()
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in FILES} == before
    assert environment.demonstrations == tmp_path / "demonstrations.jsonl"


def test_closing_before_anything_was_opened_is_fine(math_dir: Path) -> None:
    MathQA(math_dir, SMALL).close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "needs data_dir, or both"),
        ({"train": Path("x")}, "needs data_dir, or both"),
        ({"train": Path("x"), "validation": Path("x"), "generate": SMALL}, "writes the problems"),
        ({"data_dir": Path("x"), "invalid_call_penalty": -1.0}, "must not be negative, got -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MathQA(**{"reward": EXACT, **options})


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no train file at .*train\.jsonl\. Set generate"):
        MathQA(tmp_path, reward=EXACT, toolset=[calculator]).prepare()


def test_gzipped_and_parquet_files_are_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps({"problem": "a", "answer": "1"}).encode()))
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "validation.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"problem": "b", "answer": 2}]), table)
    environment = MathQA(train=packed, validation=table, reward=EXACT, toolset=[calculator])
    found = [environment.tasks("train")[0], environment.tasks("validation")[0]]
    assert [(task.messages[0]["content"], task.answers) for task in found] == [("a", ("1",)), ("b", ("2",))]


def test_generated_files_are_read_by_their_own_columns(math_dir: Path) -> None:
    environment = MathQA(math_dir, SMALL, columns=MathColumns("question"), toolset=[calculator])
    assert len(environment.tasks("train")) == 40
