r"""Equality of mathematics by math-verify, and answers that try to break it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from told import answered, told, verdict

from lightning_agentrl.rewards import math_child
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.mathematics import MathVerify
from lightning_agentrl.types import Reward

pytest.importorskip("math_verify")

HUNG = r"9^{9^{9^9}}"
"""Its digits would fill the universe; one call of a C function computes them, and hears no signal handler."""


@pytest.fixture(scope="module")
def judge() -> Iterator[MathVerify]:
    reward = MathVerify(workers=1, timeout=1.5)
    yield reward
    reward.close()


@pytest.fixture
def hasty() -> Iterator[MathVerify]:
    reward = MathVerify(workers=1, timeout=0.5)
    yield reward
    reward.close()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


def judged(judge: MathVerify, answer: str | None, *golden: str) -> Reward:
    trajectory = told("I do not know.", golden=golden) if answer is None else answered(answer, *golden)
    return verdict(Rewards(judge), trajectory)


@pytest.mark.parametrize(
    ("answer", "golden"),
    [
        ("0.5", "1/2"),
        (r"\frac12", "0.5"),
        (r"\frac{1}{2}", r"\dfrac{1}{2}"),
        ("50%", "0.5"),
        (r"50\%", "50"),  # math-verify takes a percentage for its number too
        ("1,000", "1000"),
        ("42.0", "42"),
        ("42.", "42"),
        ("-3", "−3"),
        ("1e-05", "0.00001"),
        ("2^{10}", "1024"),
        (r"\{1, 2\}", r"\{2, 1\}"),
        ("1, 2", r"\{2, 1\}"),
        (r"[0, 1)", r"\left[0, 1\right)"),
        ("(1, 2, 3)", "(1,2,3)"),
        (r"3\sqrt{3}-6", r"3\sqrt{3} - 6"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("(x+1)^2", "x^2 + 2x + 1"),
        ("x = 5", "5"),
        ("12 cm", "12"),
        (r"12 \text{ cm}", "12"),
        (r"\pi", "π"),
        ("0.333333", "1/3"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        ("monday", r"\text{Monday}"),
        (r"\text{(A)}", "A"),
        (r"so \boxed{\frac12}", "0.5"),
        ("The answer is $5$.", "5"),
    ],
)
def test_equal_mathematics_in_other_words_is_right(judge: MathVerify, answer: str, golden: str) -> None:
    assert judged(judge, answer, golden).outcome == 1


@pytest.mark.parametrize(
    ("answer", "golden"),
    [
        ("6", "5"),
        ("0.3333", "1/3"),
        ("3", r"3\sqrt{3}-6"),
        ("5 or 6", "6"),
        (r"\boxed{5} \boxed{6}", "5"),
        ("The answer is 5", "5"),
        ("(0, 1)", "[0, 1)"),
        ("(1, 2)", "(2, 1)"),
        ("Monday", "dynamo"),
        ("x", "y"),
        ("1.0000001", "1"),
        ("10000000000000001", "10000000000000000"),
        ("inf", "5"),
    ],
)
def test_other_mathematics_is_wrong(judge: MathVerify, answer: str, golden: str) -> None:
    assert judged(judge, answer, golden).outcome == 0


def test_any_accepted_answer_counts(judge: MathVerify) -> None:
    assert judged(judge, "1/2", "3", "0.5").outcome == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        r"\boxed{}",
        "None",
        "\x00",
        "\ud800",
        "5\u200b",
        "💥" * 100,
        "{" * 1999,
        "}" * 1999,
        "{" * 100_000,
        r"\frac{" * 300,
        r"\left(" * 300,
        "$" * 2000,
        "\\" * 2000,
        "x" * 1500,
        "1" * 2000,
        "__import__('os').system('true')",
        '{"golden": ["5"], "answer": "5"}',
        "\n".join(["5"] * 100),
        r"\begin{pmatrix}" + "1&" * 500 + r"1\end{pmatrix}",
    ],
)
def test_hostile_answers_are_wrong_and_harm_nobody(judge: MathVerify, answer: str | None) -> None:
    assert judged(judge, answer, "5").outcome == 0
    assert judged(judge, "10/2", "5").outcome == 1


@pytest.mark.parametrize("answer", [HUNG, r"\binom{10^{9}}{5 \cdot 10^{8}}", "(10^{10})!"])
def test_an_answer_that_takes_too_long_is_wrong_and_counted(hasty: MathVerify, answer: str) -> None:
    verdict = judged(hasty, answer, "5")
    assert (verdict.outcome, verdict.components["math_timeout"]) == (0, 1)
    assert judged(hasty, "10/2", "5").components["math_timeout"] == 0


def test_a_verdict_costs_cpu_time_not_time_on_the_clock(hasty: MathVerify) -> None:
    before = children()
    judged(hasty, "10/2", "5")
    (child,) = children() - before
    os.kill(child, signal.SIGSTOP)  # as if the machine had better things to do for a second

    async def slowly() -> bool:
        asyncio.get_running_loop().call_later(1.0, os.kill, child, signal.SIGCONT)
        return await hasty.equal("12/2", ["6"])

    assert asyncio.run(slowly())


def test_the_memory_of_a_child_is_bounded() -> None:
    before = children()
    reward = MathVerify(workers=1, memory_mb=512)
    judged(reward, "10/2", "5")
    (child,) = children() - before
    limit = psutil.Process(child).rlimit(psutil.RLIMIT_AS)
    reward.close()
    assert limit == (512 << 20, 512 << 20)


def test_a_golden_answer_that_cannot_be_read_is_counted(judge: MathVerify) -> None:
    verdict = judged(judge, "5", r"\frac{")
    assert (verdict.outcome, verdict.components["math_error"]) == (0, 1)


def test_expressions_that_are_too_long_are_wrong_without_a_look() -> None:
    reward = MathVerify(workers=1, max_characters=10)
    verdicts = [judged(reward, answer, "1").outcome for answer in ("1+0+0+0", "1+0+0+0+0+0")]
    reward.close()
    assert verdicts == [1, 0]


NOISY = """
print("imported")
class LatexExtractionConfig:
    def __init__(self, **options): pass
def parse(*arguments, **options):
    print("parsed")
    return [arguments[0]]
def verify(*arguments, **options):
    return True
"""


def test_what_a_library_prints_does_not_get_between_the_replies(tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text(NOISY)
    done = subprocess.run(
        [sys.executable, "-P", math_child.__file__, str(1 << 30), "10", str(os.getpid())],
        input=json.dumps({"golden": ["5"], "answer": "5", "options": {}}) + "\n",
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"ready": True}, {"equal": True, "error": None}]


def test_the_same_text_needs_no_child() -> None:
    before = children()
    reward = MathVerify()
    assert judged(reward, r"\frac{", r"\frac{").outcome == 1
    assert children() == before


def test_many_trajectories_are_judged_at_once(judge: MathVerify) -> None:
    async def all_of_them() -> list[Reward]:
        rewards = Rewards(judge)
        trajectories = [answered(f"{number}/1" if number % 2 else "x", str(number)) for number in range(40)]
        return list(await asyncio.gather(*(rewards(trajectory) for trajectory in trajectories)))

    assert [verdict.outcome for verdict in asyncio.run(all_of_them())] == [0.0, 1.0] * 20


def test_a_killed_child_is_replaced(judge: MathVerify) -> None:
    judged(judge, "10/2", "5")
    before = children()
    for child in before:
        os.kill(child, signal.SIGKILL)
    assert judged(judge, "10/2", "5").outcome == 1
    assert children() != before


def test_nothing_is_left_after_closing() -> None:
    before = children()
    reward = MathVerify(workers=2)
    judged(reward, "10/2", "5")
    assert len(children() - before) == 1  # the second one is started when it is needed
    reward.close()
    assert children() == before
    assert judged(reward, "10/2", "5").outcome == 1  # a later call starts anew
    reward.close()
    assert children() == before


RUN = f"""
import os, sys, threading
from lightning_agentrl.rewards import math_child
from lightning_agentrl.rewards.child_pool import ChildPool
command = lambda: [sys.executable, "-P", math_child.__file__, str(1 << 30), "100", str(os.getpid())]
pool = ChildPool(command, 1, 100, {{}})
def equal(answer):
    return pool.submit({{"golden": ["5"], "answer": answer, "options": {{}}}}).result()["equal"]
print(equal("10/2"), flush=True)
if sys.argv[1] == "hang":
    threading.Timer(0.5, os.kill, (os.getpid(), {int(signal.SIGKILL)})).start()
    equal(r"{HUNG}")
if sys.argv[1] == "raise":
    raise RuntimeError("on purpose")
"""


@pytest.mark.parametrize(("how", "status"), [("raise", 1), ("hang", -signal.SIGKILL)])
def test_children_end_with_their_parent_however_that_ends(how: str, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, how], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "True\n"
        offspring = psutil.Process(parent.pid).children(recursive=True)
        assert offspring
        assert parent.wait(60) == status
    _, alive = psutil.wait_procs(offspring, timeout=10)
    assert not alive


def test_without_math_verify_the_error_comes_early_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(ImportError, match=r"lightning-agentrl\[math\]"):
        MathVerify()


@pytest.mark.parametrize("settings", [{"timeout": 0.0}, {"workers": 0}, {"memory_mb": 16}, {"max_characters": 0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="MathVerify needs"):
        MathVerify(**settings)
