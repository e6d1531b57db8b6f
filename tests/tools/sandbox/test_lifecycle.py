"""However a trainer ends, no process of its sandbox outlives it; and a template that dies is replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import all_gone, pair, private_folders, processes, start, wait_for

from lightning_agentrl.tools.sandbox import Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.layers import Layers, probe
from lightning_agentrl.types import InfrastructureError

LOOP = "open('begun', 'w')\nwhile True: pass"
MODES = {"full": "probe(1 << 20)", "without bubblewrap": "PLAIN"}
FOUND = probe()
PLAIN = Layers(None, FOUND.landlock, FOUND.seccomp)


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """A time limit that no other sandbox has; it can be read off the command lines of its processes."""
    return f"{60 + abs(hash(request.node.nodeid)) % 100000 / 100000:.5f}1"


@pytest.fixture
def sandbox(marker: str) -> Iterator[Sandbox]:
    sandbox = Sandbox(SandboxSettings(slots=1, timeout=float(marker), preload=("math",), writable=True), PLAIN)
    yield sandbox
    sandbox.close()


def host(marker: str, mode: str, end: str) -> str:
    """Code of a trainer that has a program running when it ends."""
    return f"""
settings = SandboxSettings(slots=1, timeout={marker}, preload=("math",), writable=True, writable_mb=1)
sandbox = Sandbox(settings, {MODES[mode]})
sandbox.submit("1").result()
running = sandbox.submit({LOOP!r})
print("started", flush=True)
sys.stdin.readline()
{end}
"""


ENDS = {
    "close": "sandbox.close()",
    "falls off its end": "",
    "an exception": "raise RuntimeError",
    "SIGTERM": "signal.raise_signal(signal.SIGTERM); time.sleep(60)",
    "SIGKILL": "signal.raise_signal(signal.SIGKILL)",
    "Ctrl-C": "signal.raise_signal(signal.SIGINT); time.sleep(60)",
    "os._exit": "os._exit(0)",
    "its sandbox is forgotten": "del sandbox, running; import gc; gc.collect(); sys.stdin.readline()",
}
QUICK = ("close", "SIGTERM", "SIGKILL")
CASES = [
    pytest.param(end, mode, marks=[] if end in QUICK and mode != "full" else [pytest.mark.slow])
    for end in ENDS
    for mode in MODES
]


@pytest.mark.parametrize(("end", "mode"), CASES)
def test_no_process_and_no_folder_outlives_the_trainer(end: str, mode: str, marker: str) -> None:
    if mode == "full" and FOUND.bubblewrap is None:
        pytest.skip("bubblewrap is not installed")
    with start(host(marker, mode, ENDS[end])) as trainer:
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "started\n"
        seen = wait_for(marker, 2 if mode == "without bubblewrap" else 3)  # template and program; and bubblewrap
        folders = private_folders(seen)
        trainer.stdin.write("\n")
        trainer.stdin.flush()
        assert all_gone(seen)
    assert not processes(marker)
    assert [os.path.exists(folder) for folder in folders] == [False]


@pytest.mark.parametrize("mode", [pytest.param("full", marks=pytest.mark.slow), "without bubblewrap"])
def test_a_template_that_hangs_while_it_imports_ends_with_the_trainer(mode: str, marker: str, tmp_path: Path) -> None:
    if mode == "full" and FOUND.bubblewrap is None:
        pytest.skip("bubblewrap is not installed")
    (tmp_path / "hanging.py").write_text("while True: pass")
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
sandbox = Sandbox(SandboxSettings(slots=1, timeout={marker}, preload=("hanging",)), {MODES[mode]})
sandbox.submit("1")
sys.stdin.readline()
signal.raise_signal(signal.SIGKILL)
"""
    with start(code) as trainer:
        seen = wait_for(marker, 1 if mode == "without bubblewrap" else 2)
        trainer.communicate("\n")
        assert all_gone(seen)


def test_a_template_that_dies_under_a_program_is_replaced_and_the_program_tried_again(
    sandbox: Sandbox, marker: str
) -> None:
    sandbox.submit("1").result()
    running = sandbox.submit("import time\nopen('begun', 'w')\ntime.sleep(1)\nprint('done')")
    template, program = pair(marker)
    os.kill(template, signal.SIGKILL)
    assert running.result().text == "done\n"
    assert not processes(marker) & {template, program}


def test_a_template_that_dies_twice_is_a_failure_of_the_machinery(sandbox: Sandbox, marker: str) -> None:
    sandbox.submit("1").result()
    running = sandbox.submit(LOOP)
    template, program = pair(marker)
    os.kill(template, signal.SIGKILL)
    assert all_gone({template, program})
    os.kill(pair(marker)[0], signal.SIGKILL)
    with pytest.raises(InfrastructureError, match="failed 2 times"):
        running.result()


def test_a_child_that_cannot_lock_itself_in_never_begins_the_program() -> None:
    code = """
import json
from lightning_agentrl.tools.sandbox.inside import child
from lightning_agentrl.tools.sandbox.inside.plan import Plan
plan = Plan(seconds=1, memory=1 << 30, preload=(), search=(), libraries=(), landlock=1, seccomp=False)
request, (reading, output), (telling, report) = os.memfd_create("request"), os.pipe(), os.pipe()
os.pwrite(request, json.dumps({"code": "print('begun')"}).encode(), 0)
trainer = os.getpid()
if os.fork() == 0:
    child.main(plan, child.Locks(rules=request, instructions=None), trainer, request, output, report)
_, status = os.wait()
os.close(output)
print(os.waitstatus_to_exitcode(status), os.read(reading, 99), b"landlock_restrict_self" in os.read(telling, 9999))
"""
    with start(code) as trainer:
        assert trainer.communicate()[0] == "70 b'' True\n"


def test_a_child_without_its_folder_is_replaced_and_shows_nothing(marker: str) -> None:
    sandbox = Sandbox(SandboxSettings(slots=1, timeout=float(marker), preload=("math",), writable=True), PLAIN)
    sandbox.submit("1").result()
    first = processes(marker)
    (folder,) = private_folders(first)
    os.rmdir(folder)
    assert sandbox.submit("print(2)").result().text == "2\n"
    assert not processes(marker) & first
    sandbox.close()


def test_a_template_that_dies_between_calls_costs_no_call(sandbox: Sandbox, marker: str) -> None:
    sandbox.submit("1").result()
    (template,) = processes(marker)
    os.kill(template, signal.SIGKILL)
    assert sandbox.submit("print(2)").result().text == "2\n"


def test_a_program_that_is_killed_from_outside_ends_alone(sandbox: Sandbox, marker: str) -> None:
    sandbox.submit("1").result()
    running = sandbox.submit(LOOP)
    os.kill(pair(marker)[1], signal.SIGKILL)
    assert (running.result().status, running.result().signal) == ("killed", "SIGKILL")


def test_close_ends_programs_and_leaves_the_sandbox_usable(sandbox: Sandbox, marker: str) -> None:
    running, waiting = sandbox.submit(LOOP), sandbox.submit("print(1)")
    seen = wait_for(marker, 2)
    sandbox.close()
    sandbox.close()
    for call in (running, waiting):
        with pytest.raises(InfrastructureError, match="closed"):
            call.result(timeout=0)
    assert all_gone(seen)
    assert sandbox.submit("print(2)").result().text == "2\n"


def test_a_fresh_template_takes_over_after_so_many_calls(marker: str) -> None:
    settings = SandboxSettings(slots=1, timeout=float(marker), preload=("math",), recycle_after=2)
    sandbox = Sandbox(settings, PLAIN)
    parents = [sandbox.submit("import os\nprint(os.getppid())").result().text for _ in range(4)]
    sandbox.close()
    assert [len(set(parents[:2])), len(set(parents))] == [1, 2]


def test_a_forked_copy_of_the_trainer_gets_processes_of_its_own(marker: str) -> None:
    code = f"""
sandbox = Sandbox(SandboxSettings(slots=1, timeout={marker}, preload=("math",)), PLAIN)
ask = lambda: sandbox.submit("import os\\nprint(os.getppid())").result().text.strip()
mine = ask()
copy = os.fork()
if copy == 0:
    print(ask() != mine, flush=True)
    sys.exit()
os.waitpid(copy, 0)
print(ask() == mine)
"""
    with start(code) as trainer:
        assert trainer.communicate()[0] == "True\nTrue\n"
    assert not processes(marker)


def test_a_sandbox_outlives_the_event_loop_and_the_thread_that_first_used_it(sandbox: Sandbox) -> None:
    parents = []

    def ask() -> None:
        parents.append(asyncio.run(sandbox.run("import os\nprint(os.getppid())")).text)

    for _ in range(2):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(set(parents)) == 1


def test_a_caller_who_gives_up_leaves_the_sandbox_usable(sandbox: Sandbox) -> None:
    async def impatient() -> str:
        waiting = [asyncio.ensure_future(sandbox.run("import time\ntime.sleep(0.2)")) for _ in range(3)]
        await asyncio.sleep(0)
        for call in waiting:
            call.cancel()
        return (await sandbox.run("print(1)")).text

    assert asyncio.run(impatient()) == "1\n"


def test_what_the_trainer_ignores_and_limits_does_not_disturb_the_template() -> None:
    code = """
import resource
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
sandbox = Sandbox(SandboxSettings(slots=1, preload=("math",), memory_mb=4096, timeout=60), PLAIN)
print(sandbox.submit("print(1)").result().text, end="")
sandbox.close()
"""
    with start(code) as trainer:
        assert trainer.communicate()[0] == "1\n"


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="takes root to become another user")
@pytest.mark.parametrize("layers", ["probe()", "PLAIN"])
def test_it_works_for_an_unprivileged_user(layers: str) -> None:
    code = f"""
sandbox = Sandbox(SandboxSettings(slots=1, preload=("math",), writable=True), {layers})
print(os.getuid(), sandbox.submit("import os\\nopen('a', 'w')\\nprint(os.getuid(), os.listdir())").result().text)
sandbox.close()
"""
    with start(code, nobody()) as trainer:
        said, complaint = trainer.communicate()
    assert said.split() == ["65534", "65534", "['a']"], complaint


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="takes root to become another user")
def test_nobody_but_root_may_look_into_a_template() -> None:
    code = """
sandbox = Sandbox(SandboxSettings(slots=1, preload=("math",)), PLAIN)
template = sandbox.submit("import os\\nprint(os.getppid())").result().text.strip()
try:
    print(open(f"/proc/{template}/maps").readline())
except PermissionError:
    print("refused")
sandbox.close()
"""
    with start(code, nobody()) as trainer:
        assert trainer.communicate()[0] == "refused\n"


def nobody() -> list[str]:
    """Starts Python as a user without rights; an interpreter in root's own folder is out of its reach."""
    own = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    within_reach = all(folder.stat().st_mode & 0o001 for folder in own.parents)
    python = sys.executable if within_reach else "/usr/bin/python3"
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python]
