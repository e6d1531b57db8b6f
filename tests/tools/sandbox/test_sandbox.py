"""What a program can do in the sandbox, and what it prints."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_agentrl.tools.sandbox import Execution, Sandbox, SandboxSettings

SCRATCH = SandboxSettings(slots=1, preload=("math",), writable=True, writable_mb=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(SandboxSettings(timeout=20.0))
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Sandbox]:
    sandbox = Sandbox(SCRATCH)
    yield sandbox
    sandbox.close()


def shown(sandbox: Sandbox, code: str) -> str:
    """What a program that ends well prints."""
    seen = sandbox.submit(code).result()
    assert seen.status == "ok", seen.text
    return seen.text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("6 * 7", "42\n"),
        ("x = 6\nx * 7", "42\n"),
        ("'text'", "'text'\n"),
        ("None", ""),
        ("print(1)\n2", "1\n"),
        ("x = 1", ""),
        ("for x in [1]: x", ""),
        ("import sys\nsys.stderr.write('warned\\n')\n2", "warned\n2\n"),
        ("import sys\nsys.stdout.write('')\n2", "2\n"),
    ],
)
def test_the_last_expression_is_shown_if_nothing_was_printed(code: str, text: str, sandbox: Sandbox) -> None:
    assert shown(sandbox, code) == text


def test_output_and_errors_come_in_the_order_in_which_they_were_written(sandbox: Sandbox) -> None:
    code = "import sys\nfor n in range(4): print(n, file=(sys.stdout, sys.stderr)[n % 2])"
    assert shown(sandbox, code) == "0\n1\n2\n3\n"


def test_a_program_is_the_main_module(sandbox: Sandbox) -> None:
    code = """
import pickle
from dataclasses import dataclass
@dataclass
class Point:
    x: "int"
if __name__ == "__main__":
    print(pickle.loads(pickle.dumps(Point(1))), Point.__annotations__)
"""
    assert shown(sandbox, code) == "Point(x=1) {'x': 'int'}\n"


def test_annotations_mean_what_they_mean_elsewhere(sandbox: Sandbox) -> None:
    assert shown(sandbox, "x: 1 + 1 = 0\nprint(__annotations__)") == "{'x': 2}\n"


def test_a_traceback_shows_the_lines_of_the_program_and_no_others(sandbox: Sandbox) -> None:
    code = "import json\ndef load(text):\n    return json.loads(text)\nload('{')"
    seen = sandbox.submit(code).result()
    assert (seen.status, seen.text) == (
        "error",
        "Traceback (most recent call last):\n"
        '  File "<program>", line 4, in <module>\n'
        "    load('{')\n"
        '  File "<program>", line 3, in load\n'
        "    return json.loads(text)\n"
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)\n",
    )


def test_a_syntax_error_is_shown_with_its_place(sandbox: Sandbox) -> None:
    assert sandbox.submit("x = (").result().text == (
        "  File \"<program>\", line 1\n    x = (\n        ^\nSyntaxError: '(' was never closed\n"
    )


def test_what_was_printed_before_the_end_of_time_is_shown(sandbox: Sandbox) -> None:
    brief = Sandbox(SandboxSettings(slots=1, timeout=0.3, preload=("math",)))
    seen = brief.submit("print('so far')\nwhile True: pass").result()
    brief.close()
    assert (seen.status, seen.text, seen.truncated) == ("timeout", "so far\n", False)


@pytest.mark.parametrize(("length", "status"), [(65535, "ok"), (65536, "output"), (10**7, "output")])
def test_output_is_kept_up_to_its_limit(length: int, status: str, sandbox: Sandbox) -> None:
    seen = sandbox.submit(f"print('x' * {length})").result()
    assert (seen.status, len(seen.text), seen.truncated) == (status, 65536, status == "output")


def test_a_program_that_prints_too_much_does_not_run_to_the_end_of_its_time(sandbox: Sandbox) -> None:
    assert sandbox.submit("while True: print('spam')").result().seconds < sandbox.settings.timeout / 2


@pytest.mark.parametrize(
    ("code", "status"), [("exit()", "ok"), ("quit(0)", "ok"), ("exit(2)", "error"), ("1/0", "error")]
)
def test_an_exit_counts_by_its_number(code: str, status: str, sandbox: Sandbox) -> None:
    assert sandbox.submit(code).result().status == status


def test_sympy_and_the_standard_library_can_be_imported(sandbox: Sandbox) -> None:
    code = """
import bz2, collections, csv, datetime, decimal, fractions, hashlib, itertools, json, lzma, random, re, sqlite3, zlib
import sympy
x = sympy.Symbol("x")
print(sympy.integrate(x**2, x), sympy.solve(x**2 - 4), sqlite3.connect(":memory:").execute("select 6 * 7").fetchone())
"""
    assert shown(sandbox, code) == "x**3/3 [-2, 2] (42,)\n"


def test_numpy_can_be_preloaded_and_draws_afresh_in_each_program() -> None:
    sandbox = Sandbox(SandboxSettings(slots=1, preload=("numpy",)))
    code = "import numpy as np\nprint(np.linalg.inv(np.eye(2)).sum(), np.random.rand(4))"
    first, second = shown(sandbox, code), shown(sandbox, code)
    sandbox.close()
    assert first != second
    assert first.startswith("2.0 ")


def test_each_program_draws_its_own_random_numbers(sandbox: Sandbox) -> None:
    assert shown(sandbox, "import random\nrandom.random()") != shown(sandbox, "import random\nrandom.random()")


def test_what_is_installed_and_not_preloaded_cannot_be_imported(sandbox: Sandbox) -> None:
    assert sandbox.submit("import torch").result().text.endswith("ModuleNotFoundError: No module named 'torch'\n")


def test_a_module_to_preload_must_be_there() -> None:
    with pytest.raises(ValueError, match="'no_such_module'"):
        Sandbox(SandboxSettings(preload=("no_such_module",)))


@pytest.mark.parametrize("name", ["slots", "timeout", "memory_mb", "max_output", "recycle_after", "writable_mb"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SandboxSettings(**{name: 0})  # type: ignore[arg-type]


def test_many_calls_at_once_keep_their_output_apart(sandbox: Sandbox) -> None:
    async def gather() -> list[Execution]:
        return await asyncio.gather(*(sandbox.run(f"for _ in range(500): print({n})") for n in range(40)))

    assert [seen.text for seen in asyncio.run(gather())] == [f"{n}\n" * 500 for n in range(40)]


def test_callers_in_several_threads_keep_their_output_apart(sandbox: Sandbox) -> None:
    texts = [""] * 16

    def ask(number: int) -> None:
        texts[number] = asyncio.run(sandbox.run(f"print({number})")).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [f"{number}\n" for number in range(len(texts))]


def test_programs_begin_in_the_order_in_which_they_came() -> None:
    sandbox = Sandbox(SandboxSettings(slots=1, preload=("math",)))
    order: list[int] = []
    calls = [sandbox.submit(f"print({number})") for number in range(8)]
    for call in calls:
        call.add_done_callback(lambda done: order.append(int(done.result().text)))
    for call in calls:
        call.result()
    sandbox.close()
    assert order == sorted(order)


def test_programs_in_two_slots_run_at_the_same_time() -> None:
    sandbox = Sandbox(SandboxSettings(slots=2, preload=("math",)))
    code = "import time\nstart = time.monotonic()\ntime.sleep(1)\nprint(start, time.monotonic())"
    (begin, end), (other_begin, other_end) = (
        map(float, call.result().text.split()) for call in [sandbox.submit(code) for _ in range(2)]
    )
    sandbox.close()
    assert max(begin, other_begin) < min(end, other_end)


def test_no_program_finds_an_earlier_one_in_memory(sandbox: Sandbox) -> None:
    single = Sandbox(SandboxSettings(slots=1, preload=("math",)))
    shown(single, f"print('{'needle' * 5000}')")
    code = """
import ctypes
libc = ctypes.CDLL(None)
libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
end = libc.sbrk(0)
heap = ctypes.string_at(end - (1 << 19), 1 << 19)
print(len(heap), (b"nee" + b"dle").join([b""] * 3) in heap)
"""
    text = shown(single, code)
    single.close()
    assert text == "524288 False\n"


def test_no_descriptor_of_the_trainer_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        sandbox = Sandbox(SandboxSettings(slots=1, preload=("math",)))
        code = "import os\nfor n in range(1000):\n  try: os.fstat(n)\n  except OSError: continue\n  print(n, end=' ')"
        text = shown(sandbox, code)
        sandbox.close()
    assert text == "0 1 2 "


def test_files_lie_in_the_folder_and_can_be_imported_and_changed(scratch: Sandbox) -> None:
    files = {"solution.py": "def f():\n    return 1 / 0", "data/text.txt": "α\r\n", "pkg/__init__.py": "x = 1"}
    code = """
import os, pkg, solution
print(sorted(os.listdir()), repr(open("data/text.txt", newline="", encoding="utf-8").read()), pkg.x)
open("solution.py", "a").write("\\n")
solution.f()
"""
    seen = scratch.submit(code, files).result()
    assert seen.text == (
        "['data', 'pkg', 'solution.py'] 'α\\r\\n' 1\n"
        "Traceback (most recent call last):\n"
        '  File "<program>", line 5, in <module>\n'
        "    solution.f()\n"
        '  File "solution.py", line 2, in f\n'
        "    return 1 / 0\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_files_of_one_program_are_gone_in_the_next(scratch: Sandbox) -> None:
    scratch.submit("open('mine', 'w')", {"given": "x"}).result()
    assert shown(scratch, "import os\nprint(os.listdir())") == "[]\n"


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        *(({name: ""}, "relative path") for name in ("/etc/passwd", "../left", "a/../../left", "", ".", "a\0b")),
        ({"a" * 256: ""}, "shorter"),
        ({"a/" * 501: ""}, "shorter"),
        ({"a": "", "a/b": ""}, "which is a file"),
        ({"\ud800": ""}, "surrogates"),
        ({"big": "x" * (1 << 20)}, "has room for 1048576"),
        ({f"{number}": "" for number in range(65)}, "has room for 1048576"),
    ],
)
def test_files_that_cannot_be_written_are_refused(files: dict[str, str], complaint: str, scratch: Sandbox) -> None:
    with pytest.raises(ValueError, match=complaint):
        scratch.submit("1", files)


def test_as_many_files_as_there_is_room_for_can_be_written(scratch: Sandbox) -> None:
    files = {f"{number}": "\ud800" for number in range(49)} | {"a" * 255: "x" * 24000}
    seen = scratch.submit("import os, time\ntime.sleep(0.1)\nprint(len(os.listdir()))", files).result()
    assert (seen.status, seen.text) == ("ok", "50\n")


@pytest.mark.parametrize("name", ["./a", "a/", "d//a"])
def test_paths_of_files_are_made_normal(name: str, scratch: Sandbox) -> None:
    assert scratch.submit("import os\nprint(os.listdir())", {name: ""}).result().text in ("['a']\n", "['d']\n")


def test_files_need_a_folder(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="writable: true"):
        sandbox.submit("1", {"a": ""})


def test_a_sandbox_that_is_contained_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sandbox(SandboxSettings(unsafe_no_isolation=True))
