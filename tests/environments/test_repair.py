"""Repairing repositories with tools: what the policy is told, what an attempt earns, and how it branches."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from repairs import END, call, mending, play, roman, started, trajectory

from lightning_agentrl.data.repair_tasks import LIBRARY
from lightning_agentrl.environments.repair import Repair
from lightning_agentrl.environments.repair.episode import RepairEpisode
from lightning_agentrl.environments.repair.judging import read
from lightning_agentrl.tools.sandbox import SandboxSettings
from lightning_agentrl.types import Action, ParsedCall, Reward, Task


@pytest.fixture(scope="module")
def environment() -> Iterator[Repair]:
    environment = started()
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def task(environment: Repair) -> Task:
    return roman(environment)


def test_an_expert_repairs_a_repository_of_every_project(environment: Repair) -> None:
    for task in {
        task.meta["project"]: task for task in (*environment.tasks("train"), *environment.tasks("validation"))
    }.values():
        repository = environment._repositories[task.id]
        look = call("view", path=repository.path)
        heard, reward = play(environment, task, call("run_tests"), look, mending(repository), call("run_tests"), END)
        assert " 0 failed" not in heard[0].results[0]
        assert heard[3].results[0].endswith(" 0 failed"), (task.id, heard[2].results)
        assert heard[4].done
        assert reward == Reward(
            1.0,
            1.0,
            {"resolved": 1.0, "cases": 1.0, "fail_to_pass": 1.0, "pass_to_pass": 1.0, "edits": 1.0, "test_runs": 2.0},
        )


@pytest.mark.slow
def test_an_expert_repairs_every_repository() -> None:
    environment = Repair()
    try:
        for task in (*environment.tasks("train"), *environment.tasks("validation")):
            _, reward = play(environment, task, mending(environment._repositories[task.id]), END)
            assert reward.outcome == 1.0, task.id
    finally:
        environment.close()


def test_doing_nothing_earns_nothing_and_runs_nothing(environment: Repair, task: Task) -> None:
    repository = environment._repositories[task.id]
    fresh = started()
    _, reward = play(fresh, fresh.tasks("train")[0], END)
    assert (reward.outcome, reward.components["fail_to_pass"], reward.components["pass_to_pass"]) == (0.0, 0.0, 1.0)
    assert fresh._sandbox._crew is None  # no process was started
    assert reward.components["cases"] < 1.0
    assert repository.failing


def test_a_repair_that_breaks_something_else_is_none(environment: Repair, task: Task) -> None:
    repository = environment._repositories[task.id]
    harm = call("edit", path=repository.path, old="def add_roman", new="def sum_roman")
    _, reward = play(environment, task, mending(repository), harm, END)
    assert (reward.outcome, reward.components["fail_to_pass"] > 0) == (0.0, True)
    assert reward.components["pass_to_pass"] < 1.0


def test_a_repair_of_the_tests_in_sight_alone_is_none(environment: Repair, task: Task) -> None:
    repository = environment._repositories[task.id]
    shown = {repository.cases[n]: repository.expected[n] for n in repository.visible if n in repository.failing}
    table = {case[case.index("(") + 1 : -1]: value for case, value in shown.items() if not value.startswith("raises")}
    name = next(iter(shown)).split("(")[0]
    lookup = "".join(f"\n_old = {name}\ndef {name}(*given): return {value} if given == ({given},) else _old(*given)\n"
                     for given, value in table.items())  # fmt: skip
    source = repository.files[repository.path]
    _, reward = play(
        environment,
        task,
        call("edit", path=repository.path, old=source.split("\n")[-2], new=source.split("\n")[-2] + lookup),
        END,
    )
    assert reward.outcome == 0.0


def test_the_verdict_is_on_the_files_however_the_attempt_ended(environment: Repair, task: Task) -> None:
    assert play(environment, task, mending(environment._repositories[task.id]))[1].outcome == 1.0


def test_the_prompt_names_the_files_and_a_failing_case_and_no_hidden_answer(environment: Repair, task: Task) -> None:
    repository = environment._repositories[task.id]
    text = task.messages[-1]["content"]
    assert all(path in text for path in repository.files)
    number = min(repository.failing & set(repository.visible))
    assert repository.cases[number] in text
    assert repository.expected[number] in text


def test_states_with_other_files_are_other_states(environment: Repair, task: Task) -> None:
    look = call("view", path="test_roman.py", end=1)
    edit = mending(environment._repositories[task.id])
    (before, again), _ = play(environment, task, look, look)
    (_, after), _ = play(environment, task, edit, look)
    assert before.results == after.results
    assert before.state_key == again.state_key != after.state_key


def test_a_fork_changes_files_of_its_own(environment: Repair, task: Task) -> None:
    async def run() -> tuple[Reward, Reward]:
        episode = await environment.open(task, 0)
        copy = await episode.fork()
        await copy.step(mending(environment._repositories[task.id]))
        return await episode.reward(trajectory(task, [])), await copy.reward(trajectory(task, []))

    left, mended = asyncio.run(run())
    assert (left.outcome, mended.outcome) == (0.0, 1.0)


def test_an_attempt_resumes_behind_its_edits_without_running_a_test(task: Task) -> None:
    environment = started()
    repository = environment._repositories[task.id]
    path = repository.path

    async def run() -> None:
        episode = await environment.open(task, 0)
        failed = call("edit", path=path, old="nowhere", new="x")
        heard = [await episode.step(action) for action in (failed, mending(repository), call("view", path=path))]
        ran = Action("", (ParsedCall("run_tests", {}),))
        heard.append(await episode.step(ran))
        environment.close()
        resumed = await environment.resume(task, 0, trajectory(task, heard).turns)
        assert environment._sandbox._crew is None  # no process was started
        assert isinstance(episode, RepairEpisode)
        assert isinstance(resumed, RepairEpisode)
        assert resumed._workspace.files == episode._workspace.files != repository.files

    asyncio.run(run())


def test_no_project_of_validation_is_trained_on(environment: Repair) -> None:
    projects = [{task.meta["project"] for task in environment.tasks(split)} for split in ("train", "validation")]  # type: ignore[arg-type]
    assert not projects[0] & projects[1]
    assert len(projects[1]) == 5


def test_tasks_depend_on_the_seed_alone(environment: Repair) -> None:
    assert Repair(tasks_per_project=2).tasks("train") == environment.tasks("train")
    assert Repair(tasks_per_project=2, seed=1).tasks("train") != environment.tasks("train")


def test_invalid_calls_are_penalised_when_asked_for(task: Task) -> None:
    environment = started(invalid_call_penalty=0.1)
    assert environment.gives_turn_rewards
    heard, _ = play(environment, task, call("delete", path="roman.py"), call("view", path="nowhere"))
    assert [one.penalty for one in heard] == [0.1, 0.0]


def test_programs_always_get_a_folder() -> None:
    assert started(sandbox=SandboxSettings(preload=(), writable=False))._sandbox.settings.writable


def test_answers_within_reach_of_the_sandbox_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started()
    assert not caplog.records
    monkeypatch.setattr("lightning_agentrl.environments.repair.environment.libraries", lambda: (str(LIBRARY.parent),))
    started()
    assert "Install lightning-agentrl into a virtual environment" in caplog.text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tasks_per_project": 0}, "must be at least 1"),
        ({"validation_projects": 0}, "validation_projects from 1 to"),
        ({"validation_projects": 99}, "got 24 and 99"),
        ({"invalid_call_penalty": -1.0}, "at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Repair(**options)


@pytest.mark.parametrize(
    ("printed", "reported"),
    [
        ("n 0 1\nn 1 'a b'\n", {0: "1", 1: "'a b'"}),
        ("m 0 1\nn0 1\n 0 1\n", {}),
        ("n 0 1\nn 0 2\n", {}),  # twice: neither counts
        ("n x 1\nn -1 2\nn 1234567 2\nn ² 2\n", {}),
        ("n 0\nn\n", {0: ""}),
    ],
)
def test_only_lines_with_the_nonce_are_read(printed: str, reported: dict[int, str]) -> None:
    assert read(printed, "n") == reported
