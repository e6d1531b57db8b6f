"""Problems that are made up, and demonstrations of solving them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from problems import SMALL, rows

from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.data.math_problems import draw_problem
from lightning_agentrl.environments.math_data import FILES, MathProblems, write_problems
from lightning_agentrl.environments.math_demonstrations import Calculator, make_demonstrations, printed
from lightning_agentrl.tools.python import PythonTool


def test_training_validation_and_demonstrations_share_no_validation_problem(math_dir: Path) -> None:
    train, held_out = ({row["problem"] for row in rows(math_dir / f"{name}.jsonl")} for name in ("train", "validation"))
    shown = {row["messages"][0]["content"] for row in rows(math_dir / "demonstrations.jsonl")}
    assert (len(train), len(held_out), train & held_out, shown & held_out) == (40, 16, set(), set())


def test_validation_problems_are_even_over_levels(math_dir: Path) -> None:
    levels = [row["metadata"]["level"] for row in rows(math_dir / "validation.jsonl")]
    assert {level: levels.count(level) for level in levels} == {1: 4, 2: 4, 3: 4, 4: 4}


def test_the_same_settings_give_the_same_bytes_and_others_do_not(math_dir: Path, tmp_path: Path) -> None:
    write_problems(SMALL, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in FILES] == [(math_dir / name).read_bytes() for name in FILES]
    assert "Wrote" in write_problems(MathProblems(problems=40, validation=16, demonstrations=32, seed=1), tmp_path)
    assert (tmp_path / "train.jsonl").read_bytes() != (math_dir / "train.jsonl").read_bytes()


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


def test_a_demonstration_without_flaw_takes_every_step(math_dir: Path) -> None:
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


def test_demonstrations_can_be_read_for_a_cold_start(math_dir: Path) -> None:
    read = read_demonstrations(math_dir / "demonstrations.jsonl")
    assert len(read) == 32
    assert read[0].turns[0][1] == (printed(int(last_output(rows(math_dir / "demonstrations.jsonl")[0]))),)
