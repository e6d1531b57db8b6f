"""Each layer of isolation alone, so that none can fail unseen behind another; and the refusal to go on with too few."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import PRELUDE

from lightning_agentrl.tools.sandbox import Execution, Sandbox, SandboxSettings, SandboxUnavailable
from lightning_agentrl.tools.sandbox.inside import syscalls
from lightning_agentrl.tools.sandbox.layers import Layers, probe

NEEDS_BUBBLEWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
SETTINGS = SandboxSettings(slots=1, preload=("math",), unsafe_no_isolation=True)
FOUND = probe()
UNFILTERED = {335, 336}
"""uretprobe and uprobe: no filter sees them (Linux 6.14), and they kill who calls them from elsewhere than a probe."""
SCAN = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
passed = []
for number in range(600):
    if number not in ALLOWED:
        ctypes.set_errno(0)
        if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
            passed.append(number)
print(passed)
"""


def run(layers: Layers, code: str) -> Execution:
    """One program in some layers only."""
    with pytest.warns(UserWarning, match="not contained"):
        sandbox = Sandbox(SETTINGS, layers)
    try:
        return sandbox.submit(code).result()
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def landlocked() -> Iterator[Sandbox]:
    with pytest.warns(UserWarning, match="not contained"):
        sandbox = Sandbox(SETTINGS, replace(FOUND, bubblewrap=None, seccomp=False))
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize(
    ("attack", "answer"),
    [
        ("attempt(open, '/etc/passwd')", "PermissionError EACCES"),
        ("attempt(os.listdir, '/')", "PermissionError EACCES"),
        ("attempt(open, '/proc/self/environ')", "PermissionError EACCES"),
        ("attempt(open, '@/left', 'w')", "PermissionError EACCES"),
        ("attempt(open, '@/secret', 'a')", "PermissionError EACCES"),
        ("attempt(os.truncate, '@/secret', 0)", "PermissionError EACCES"),
        ("attempt(os.unlink, '@/secret')", "PermissionError EACCES"),
        ("attempt(os.mkdir, '@/left')", "PermissionError EACCES"),
        ("attempt(os.symlink, 'a', '@/left')", "PermissionError EACCES"),
        ("attempt(os.link, '@/secret', '@/left')", "OSError EXDEV|PermissionError EACCES"),
        ("attempt(os.mkfifo, '@/left')", "PermissionError EACCES"),
        ("attempt(os.execv, '/bin/true', ['true'])", "PermissionError EACCES"),
    ],
)
def test_landlock_alone_guards_files(attack: str, answer: str, landlocked: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    said = landlocked.submit(f"{PRELUDE}\nprint({attack.replace('@', str(tmp_path))})").result().text
    assert said.strip() in answer.split("|")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.skipif(FOUND.landlock < 4, reason="TCP came with version 4")
def test_landlock_alone_refuses_tcp(landlocked: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket\nprint(attempt(socket.create_connection, {server.getsockname()}, 1))"
        assert landlocked.submit(PRELUDE + code).result().text == "PermissionError EACCES\n"


@pytest.mark.skipif(FOUND.landlock < 6, reason="scopes came with version 6")
def test_landlock_alone_refuses_signals_and_abstract_sockets(landlocked: Sandbox) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("")
        server.listen()
        code = f"""
import socket
print(attempt(os.kill, os.getppid(), 0), attempt(os.kill, {os.getpid()}, 0))
print(attempt(socket.socket(socket.AF_UNIX).connect, {server.getsockname()!r}))
"""
        said = landlocked.submit(PRELUDE + code).result().text
    assert said.split("\n")[:2] == ["PermissionError EPERM PermissionError EPERM", "PermissionError EPERM"]


@NEEDS_BUBBLEWRAP
def test_bubblewrap_alone_shows_no_file_process_or_network_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import socket
print(attempt(open, {str(tmp_path / "secret")!r}))
print(attempt(open, "/left", "w"), attempt(open, os.__file__, "a"))
print(attempt(os.kill, {os.getpid()}, 0), os.getppid(), attempt(os.listdir, "/proc"), attempt(os.listdir, "/dev"))
print(attempt(socket.create_connection, {server.getsockname()}, 1))
"""
        said = run(replace(FOUND, landlock=0, seccomp=False), PRELUDE + code).text
    assert said.splitlines() == [
        "FileNotFoundError ENOENT",
        "OSError EROFS OSError EROFS",
        "ProcessLookupError ESRCH 1 FileNotFoundError ENOENT FileNotFoundError ENOENT",
        said.splitlines()[3],
    ]
    assert said.splitlines()[3] in ("OSError ENETUNREACH", "ConnectionRefusedError ECONNREFUSED")


@NEEDS_BUBBLEWRAP
def test_nobody_inside_bubblewrap_can_kill_the_template() -> None:
    code = PRELUDE + "print(attempt(os.kill, os.getppid(), 9), attempt(os.kill, -1, 9))"
    assert run(replace(FOUND, landlock=0, seccomp=False), code).text == "done None ProcessLookupError ESRCH\n"


@NEEDS_BUBBLEWRAP
def test_without_landlock_too_only_preloaded_packages_can_be_imported() -> None:
    sandbox = Sandbox(SandboxSettings(slots=1, preload=("sympy",)), replace(FOUND, landlock=0))
    said = sandbox.submit(PRELUDE + "import mpmath\nprint(attempt(__import__, 'numpy'))").result().text
    sandbox.close()
    assert said == "ModuleNotFoundError No module named 'numpy'\n"


def test_seccomp_refuses_every_call_that_is_not_on_the_list() -> None:
    numbers = {number for number, _ in syscalls.allowed(writable=False).values()} | UNFILTERED
    said = run(replace(FOUND, bubblewrap=None, landlock=0), SCAN.replace("ALLOWED", repr(numbers))).text
    assert said == "[]\n"


def test_seccomp_alone_lets_nobody_write() -> None:
    said = run(replace(FOUND, bubblewrap=None, landlock=0), PRELUDE + "print(attempt(open, '/tmp/left', 'w'))").text
    assert said == "PermissionError EPERM\n"


@pytest.mark.parametrize("layers", [Layers(None, 0, True), Layers("/usr/bin/bwrap", 7, False), Layers(None, 0, False)])
def test_too_few_layers_are_refused_by_the_name_of_the_option(layers: Layers) -> None:
    with pytest.raises(SandboxUnavailable, match="unsafe_no_isolation: true"):
        Sandbox(layers=layers)


@pytest.mark.parametrize("layers", [Layers(None, 1, True), Layers("/usr/bin/bwrap", 0, True)])
def test_seccomp_and_one_of_the_others_are_enough(layers: Layers) -> None:
    layers.require()
