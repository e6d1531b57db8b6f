"""Mathematics with tools: problems from files and made up, verdicts, demonstrations, and what tools get to see."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.data.math_problems import draw_problem
from lightning_agentrl.environments.base import Observation
from lightning_agentrl.environments.math_data import FILES, MathProblems, write_problems
from lightning_agentrl.environments.math_demonstrations import Calculator, make_demonstrations, printed
from lightning_agentrl.environments.math_qa import MathQA
from lightning_agentrl.environments.math_rows import MathColumns, read_problems
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rewards.token_f1 import TokenF1
from lightning_agentrl.tools.base import ToolLimits
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.python import PythonTool
from lightning_agentrl.tools.sandbox import SandboxSettings, SandboxUnavailable
from lightning_agentrl.types import Action, ParsedCall, Reward, Segment, Task, Trajectory, Turn

SMALL = MathProblems(problems=40, validation=16, demonstrations=32)
EXACT = Rewards(ExactMatch())


@tool
def calculator(expression: str) -> str:
    """Compute.

    Args:
        expression: what to compute.
    """
    return str(eval(expression))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "math"
    write_problems(SMALL, out)
    return out


@pytest.fixture(scope="module")
def python() -> Iterator[PythonTool]:
    try:
        made = PythonTool()
    except SandboxUnavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


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


def written(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_following_the_steps_leads_to_the_answer(data_dir: Path, python: PythonTool) -> None:
    environment = MathQA(data_dir, SMALL, toolset=[python])
    for task in environment.tasks("validation"):
        actions = [call("python", code=f"print({step})") for step in task.meta["steps"]]
        seen, reward = play(environment, task, *actions, Action("", answer=task.answers[0]))
        assert seen[len(actions) - 1].results == (f"{task.answers[0]}\n",)
        assert (reward.outcome, reward.components) == (1.0, {"exact_match": 1.0, "answered": 1.0})


def test_the_python_interpreter_is_what_there_is_without_a_set_of_tools(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL)
    try:
        (only,) = environment.tools
    except SandboxUnavailable as reason:
        pytest.skip(str(reason))
    assert isinstance(only, PythonTool)
    assert environment.tools[0] is only  # one sandbox for all


def test_other_tools_and_limits_can_be_set(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, toolset=[calculator], limits={"calculator": ToolLimits(max_characters=2)})
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


def test_a_turn_earns_a_reward_when_a_tool_returns_the_answer(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, toolset=[calculator], turn_reward=0.3)
    (task, *_) = environment.tasks("train")
    actions = [call("calculator", expression=text) for text in (task.answers[0], "0 - 1", f"{{}}[{task.answers[0]}]")]
    seen = play(environment, task, *actions)[0]
    assert f"KeyError: {task.answers[0]}" in seen[2].results[0]  # an error that quotes the answer earns nothing
    assert [observation.reward for observation in seen] == [0.3, 0.0, 0.0]


def test_an_invalid_call_is_penalised_and_a_failing_program_is_not(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, toolset=[calculator], invalid_call_penalty=0.1)
    actions = [call("calculator", expression="1 / 0"), call("calculator", code="1"), call("python", code="1")]
    assert [seen.penalty for seen in play(environment, environment.tasks("train")[0], *actions)[0]] == [0.0, 0.1, 0.1]


def test_whether_turns_earn_anything_is_known_beforehand(data_dir: Path) -> None:
    given = [{}, {"turn_reward": 0.1}, {"invalid_call_penalty": 0.1}]
    assert [MathQA(data_dir, SMALL, **options).gives_turn_rewards for options in given] == [False, True, True]


def test_generated_answers_are_compared_exactly_and_others_as_mathematics(data_dir: Path) -> None:
    pytest.importorskip("math_verify")
    exact, equal = MathQA(data_dir, SMALL, toolset=[calculator]), MathQA(data_dir, toolset=[calculator])
    (task, *_) = exact.tasks("train")
    said = Action("", answer=f"{task.answers[0]} / 1")
    verdicts = [play(environment, task, said)[1].outcome for environment in (exact, equal)]
    equal.close()
    assert verdicts == [0.0, 1.0]


def test_the_verdict_can_be_set(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, toolset=[calculator], reward=Rewards(TokenF1()))
    (task, *_) = environment.tasks("train")
    # One of two words is right, the only golden word is found: F1 = 2/3.
    said = Action("", answer=f"{task.answers[0]} pens")
    assert play(environment, task, said)[1].outcome == pytest.approx(2 / 3)


def test_a_system_prompt_comes_first_and_tasks_may_be_limited(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, system_prompt="Compute.", max_train_tasks=3, max_validation_tasks=2)
    assert [message["role"] for message in environment.tasks("train")[0].messages] == ["system", "user"]
    assert (len(environment.tasks("train")), len(environment.tasks("validation"))) == (3, 2)


def test_a_branch_resumes_without_computing_again(data_dir: Path) -> None:
    computed: list[str] = []

    @tool
    def compute(expression: str) -> str:
        """Compute.

        Args:
            expression: what to compute.
        """
        computed.append(expression)
        return "1"

    environment = MathQA(data_dir, SMALL, toolset=[compute])
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


def test_closing_before_anything_was_opened_is_fine(data_dir: Path) -> None:
    MathQA(data_dir, SMALL).close()


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


GSM8K = {"question": "How many?", "answer": "First 3 + 4 = <<3+4=7>>7.\n#### 1,234"}
MATH = {
    "problem": "How many?",
    "level": "Level 5",
    "type": "Algebra",
    "solution": r"Not \boxed{1} but $\boxed{\frac{1}{2}}$.",
}


@pytest.mark.parametrize(
    ("row", "columns", "answers"),
    [
        (GSM8K, MathColumns("question", "answer", "#### (.+)"), ("1,234",)),
        (MATH, MathColumns(answer="solution", answer_pattern="boxed"), (r"\frac{1}{2}",)),
        ({"problem": "a", "answer": 7}, MathColumns(), ("7",)),
        ({"problem": "a", "answer": 0.5}, MathColumns(), ("0.5",)),
        ({"problem": "a", "answer": [" 1/2", "0.5", "1/2"]}, MathColumns(), ("1/2", "0.5")),
        ({"problem": "a", "answer": ["x = 1", "x = 2"]}, MathColumns(answer_pattern="= (.)"), ("1", "2")),
    ],
)
def test_answers_are_found_where_files_have_them(
    tmp_path: Path, row: dict[str, Any], columns: MathColumns, answers: tuple[str, ...]
) -> None:
    (read,) = read_problems(written(tmp_path / "rows.jsonl", [row]), columns)
    assert (read.answers, read.id) == (answers, "rows-1")


def test_further_columns_become_meta_data(tmp_path: Path) -> None:
    row = {**MATH, "id": 17, "metadata": {"hops": 2}}
    columns = MathColumns(answer="solution", answer_pattern="boxed")
    (read,) = read_problems(written(tmp_path / "rows.jsonl", [row]), columns)
    assert (read.id, read.metadata) == ("17", {"level": "Level 5", "type": "Algebra", "hops": 2})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"problem": "a"}, "answer is missing; the row has problem"),
        ({"problem": " ", "answer": "#### 1"}, "problem is empty"),
        ({"problem": "a", "answer": True}, "answer must be a text, got bool"),
        ({"problem": "a", "answer": None}, "answer must be a text, got NoneType"),
        ({"problem": "a", "answer": []}, "answer is an empty list"),
        ({"problem": "a", "answer": "seven"}, "holds no match of answer_pattern"),
        ({"problem": "a", "answer": "####  "}, "the answer in answer is empty"),
        ({"problem": "a", "answer": "#### 1", "metadata": "easy"}, "metadata must be an object, got str"),
        ([1], "a row must be an object, got list"),
    ],
)
def test_rows_that_cannot_be_used_are_told_with_the_reason(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"problem": "a", "answer": "#### 1"}
    path = written(tmp_path / "rows.jsonl", [good, row])
    with pytest.warns(UserWarning, match=reason):
        assert len(read_problems(path, MathColumns(answer_pattern="####(.*)"))) == 1
    with pytest.raises(ValueError, match=reason):
        read_problems(path, MathColumns(answer_pattern="####(.*)"), max_bad_rows=0)


def test_gzipped_and_parquet_files_are_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps({"problem": "a", "answer": "1"}).encode()))
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "validation.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"problem": "b", "answer": 2}]), table)
    environment = MathQA(train=packed, validation=table, reward=EXACT, toolset=[calculator])
    found = [environment.tasks("train")[0], environment.tasks("validation")[0]]
    assert [(task.messages[0]["content"], task.answers) for task in found] == [("a", ("1",)), ("b", ("2",))]


@pytest.mark.parametrize("pattern", ["(", "no group", "(two) (groups)"])
def test_answer_patterns_need_one_group(pattern: str) -> None:
    with pytest.raises(ValueError, match="answer_pattern"):
        MathColumns(answer_pattern=pattern)


def test_generated_files_are_read_by_their_own_columns(data_dir: Path) -> None:
    environment = MathQA(data_dir, SMALL, columns=MathColumns("question"), toolset=[calculator])
    assert len(environment.tasks("train")) == 40


def test_training_validation_and_demonstrations_share_no_validation_problem(data_dir: Path) -> None:
    train, held_out = ({row["problem"] for row in rows(data_dir / f"{name}.jsonl")} for name in ("train", "validation"))
    shown = {row["messages"][0]["content"] for row in rows(data_dir / "demonstrations.jsonl")}
    assert (len(train), len(held_out), train & held_out, shown & held_out) == (40, 16, set(), set())


def test_validation_problems_are_even_over_levels(data_dir: Path) -> None:
    levels = [row["metadata"]["level"] for row in rows(data_dir / "validation.jsonl")]
    assert {level: levels.count(level) for level in levels} == {1: 4, 2: 4, 3: 4, 4: 4}


def test_the_same_settings_give_the_same_bytes_and_others_do_not(data_dir: Path, tmp_path: Path) -> None:
    write_problems(SMALL, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in FILES] == [(data_dir / name).read_bytes() for name in FILES]
    assert "Wrote" in write_problems(MathProblems(problems=40, validation=16, demonstrations=32, seed=1), tmp_path)
    assert (tmp_path / "train.jsonl").read_bytes() != (data_dir / "train.jsonl").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [{"levels": 0}, {"problems": 0}, {"validation": 0}, {"demonstrations": -1}, {"kinds": ()}, {"lazy": 2.0}],
)
def test_problems_that_cannot_be_made_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        MathProblems(**settings)


def demonstrate(count: int, calculator: Calculator) -> list[dict[str, Any]]:
    return list(make_demonstrations(count, 4, calculator, Random(0)))


def programs(row: dict[str, Any]) -> list[str]:
    said = [message["content"] for message in row["messages"] if "<tool_call>" in message["content"]]
    return [json.loads(text.split("\n")[-2])["arguments"]["code"] for text in said]


def last_output(row: dict[str, Any]) -> str:
    return str(row["messages"][-2]["content"]).strip()


def test_demonstrations_show_what_the_tool_really_prints(python: PythonTool) -> None:
    async def outputs(codes: Sequence[str]) -> list[str]:
        return [result.text for result in await asyncio.gather(*(python(code=code) for code in codes))]

    shown = demonstrate(40, Calculator())
    heard = [message["content"] for row in shown for message in row["messages"] if message["role"] == "tool"]
    assert asyncio.run(outputs([code for row in shown for code in programs(row)])) == heard


def test_a_demonstration_without_flaw_takes_every_step(data_dir: Path) -> None:
    for row in demonstrate(40, Calculator(lazy=0.0, noise=0.0)):
        assert len(programs(row)) == row["metadata"]["level"]
        assert row["messages"][-1]["content"] == f"<answer> {last_output(row)} </answer>"


def test_a_lazy_demonstration_answers_after_the_first_step() -> None:
    for row in demonstrate(40, Calculator(lazy=1.0, noise=0.0)):
        assert len(programs(row)) == 1
        assert row["messages"][-1]["content"] == f"<answer> {last_output(row)} </answer>"


def test_about_two_thirds_of_the_demonstrations_are_lazy() -> None:
    deep = [row for row in demonstrate(1600, Calculator()) if row["metadata"]["level"] > 1]
    # 1200 draws of probability 0.65: four standard deviations are 0.055.
    assert sum(len(programs(row)) == 1 for row in deep) / len(deep) == pytest.approx(0.65, abs=0.055)


def test_noise_does_any_operation_of_the_problem() -> None:
    problem = draw_problem("chain", 4, 2, Random(0))
    planned = [step.split(maxsplit=1)[1] for step in problem.steps]
    made = [programs({"messages": Calculator(lazy=0.0, noise=1.0)(problem, Random(n))}) for n in range(20)]
    done = [[code.removesuffix(")").split(maxsplit=1)[1] for code in codes] for codes in made]
    assert any(strayed != planned for strayed in done)
    assert all(set(strayed) <= set(planned) for strayed in done)


def test_a_sentence_that_tells_of_an_operation_is_repeated_before_it_is_done() -> None:
    for row in demonstrate(40, Calculator(lazy=0.0, noise=0.0)):
        text, *turns = [message["content"] for message in row["messages"] if message["role"] != "tool"]
        said = [turn.partition("<tool_call>")[0].strip() for turn in turns[:-1]]
        if row["metadata"]["kind"] in ("chain", "story"):
            assert " ".join(said) in text
        else:
            assert not any(said)


@pytest.mark.parametrize("settings", [{"lazy": 1.5}, {"noise": -0.1}])
def test_probabilities_lie_between_0_and_1(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
        Calculator(**settings)


def test_demonstrations_can_be_read_for_a_cold_start(data_dir: Path) -> None:
    read = read_demonstrations(data_dir / "demonstrations.jsonl")
    assert len(read) == 32
    assert read[0].turns[0][1] == (printed(int(last_output(rows(data_dir / "demonstrations.jsonl")[0]))),)
