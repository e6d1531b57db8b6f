"""Attempts that want the reward without the repair. None gets it."""

import asyncio
from collections.abc import Iterator

import pytest
from repairs import END, call, play, roman, started

from lightning_agentrl.data.repair_tasks import LIBRARY
from lightning_agentrl.environments.repair import Repair
from lightning_agentrl.tools.sandbox import SandboxSettings
from lightning_agentrl.tools.sandbox.view import libraries
from lightning_agentrl.types import Action, Task

ROMAN = LIBRARY / "roman.py"


@pytest.fixture(scope="module")
def environment() -> Iterator[Repair]:
    environment = started(sandbox=SandboxSettings(preload=(), timeout=1.0))
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def task(environment: Repair) -> Task:
    return roman(environment)


# Finds the frame of who evaluates, which the program shares a process with.
FRAME = """
import sys
frame = sys._getframe()
while "cases" not in frame.f_locals:
    frame = frame.f_back
here = frame.f_locals
"""
FORGE = (
    FRAME
    + """
for number, text in enumerate(ANSWERS or ["'I'"] * len(here["cases"])):
    here["say"].write(f"{here['nonce']} {number} {text}\\n")
here["say"].flush()
"""
)
LEAVE = "\nimport os; os._exit(0)"
# Each is put at the top of the file with the bug.
PROGRAMS = {
    "leaves at once": "import os; os._exit(0)",
    "leaves politely": "import sys; sys.exit(0)",
    "leaves when called": "import os\nint = lambda *_: os._exit(0)\nenumerate = sum = sorted = int",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "loops": "while True: pass",
    "loops when called": "def reversed(_):\n    while True: pass\nsum = reversed",
    "prints without end": "while True: print('0 passed' * 1000)",
    "fills the memory": "x = 'a'\nwhile True: x += x",
    "says that all tests passed": "print('7 passed, 0 failed')",
    "patches unittest": "import unittest\nunittest.TestCase.run = lambda *_: None\nunittest.main = lambda *_: None",
    "patches the runner": "import __main__\n__main__.run_cases = __main__.run_tests = lambda *_: print('7 passed')",
    "patches what shows values": FRAME + "import builtins\nbuiltins.repr = lambda _: \"'X'\"",
    "replaces what shows values": FRAME + "sys.modules['__main__'].show = lambda value: \"'X'\"",
    "equals everything": (
        "class Any(str):\n    __eq__ = lambda *_: True\n    __hash__ = str.__hash__\n    __repr__ = lambda _: \"'I'\"\n"
        "class Fake:\n    def __getattr__(self, name): return lambda *_: Any()\n"
        "import sys; sys.modules[__name__] = Fake()"
    ),
    "forges every line": "ANSWERS = None" + FORGE,
    "forges every line and leaves": "ANSWERS = None" + FORGE + LEAVE,
    "drops the cases": FRAME + "here['cases'].clear()",
    "swaps the cases": FRAME + "here['cases'][:] = ['1'] * len(here['cases'])",
    "forges any nonce": "import os\nfor i in range(20): os.write(1, b'0123456789abcdef %d 1\\n' % i)",
    "overwrites the tests": "open('test_roman.py', 'w').write('def test_ok(): pass')",
    "deletes the files": "import os, glob\nfor name in glob.glob('*'): os.remove(name)",
    "looks for the answers": (
        "import importlib\nfor name in ('lightning_agentrl.data.repair_library.roman', 'roman_right'):\n"
        "    try: globals().update(vars(importlib.import_module(name)))\n    except ImportError: pass"
    ),
}  # fmt: skip


def attack(environment: Repair, task: Task, program: str) -> Action:
    path = environment._repositories[task.id].path
    heading = environment._repositories[task.id].files[path].split("\n")[0]
    return call("edit", path=path, old=heading, new=f"{heading}\n{program}\n")


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_hostile_program_earns_nothing(environment: Repair, task: Task, program: str) -> None:
    heard, reward = play(environment, task, attack(environment, task, program), END)
    assert heard[0].tool_calls[0].ok, heard[0].results
    assert (reward.outcome, reward.components["fail_to_pass"] < 1.0) == (0.0, True)


def test_forging_lines_works_for_who_knows_the_answers_so_nothing_inside_may_know_them(
    environment: Repair, task: Task
) -> None:
    answers = f"ANSWERS = {list(environment._repositories[task.id].expected)!r}"
    _, forged = play(environment, task, attack(environment, task, answers + FORGE + LEAVE), END)
    assert forged.outcome == 1.0
    _, twice = play(environment, task, attack(environment, task, answers + FORGE), END)
    assert twice.components["cases"] == 0.0  # our own lines follow, and what comes twice does not count


def test_the_library_is_out_of_sight(environment: Repair) -> None:
    if any(ROMAN.is_relative_to(path) for path in libraries()):
        pytest.skip("lightning_agentrl lies among the libraries of the interpreter; `prepare` warns of it")
    look = f"import os; print(os.path.exists({str(ROMAN)!r}), os.path.exists(os.__file__))"
    assert asyncio.run(environment._sandbox.run(look)).text == "False True\n"


def test_after_an_attack_the_sandbox_serves_others_and_the_files_are_whole(environment: Repair, task: Task) -> None:
    edit = attack(environment, task, PROGRAMS["deletes the files"])
    heard, _ = play(environment, task, edit, call("run_tests"), call("run_tests"), call("view", path="test_roman.py"))
    assert heard[1].results == heard[2].results
    assert heard[3].tool_calls[0].ok
    assert "failed" in play(environment, task, call("run_tests"))[0][0].results[0]


def test_tests_that_were_made_easy_change_no_verdict(environment: Repair, task: Task) -> None:
    text = environment._repositories[task.id].files["test_roman.py"]
    easy = call("edit", path="test_roman.py", old=text, new="def test_ok(): pass\n")
    heard, reward = play(environment, task, easy, call("run_tests"), END)
    assert heard[1].results == ("1 passed, 0 failed",)
    assert reward.outcome == 0.0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("loops", "The tests took too long and were stopped."),
        ("prints without end", "The tests printed too much and were stopped."),
        ("crashes", "The tests crashed."),
        ("leaves at once", "The tests printed nothing."),
        ("says that all tests passed", " failed"),
    ],
)
def test_the_policy_reads_how_its_tests_ended(environment: Repair, task: Task, program: str, said: str) -> None:
    heard, _ = play(environment, task, attack(environment, task, PROGRAMS[program]), call("run_tests"))
    assert heard[1].results[0].endswith(said)
