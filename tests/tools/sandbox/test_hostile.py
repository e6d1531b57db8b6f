"""Every hostile program is stopped, for the reason that it should be, with each layer taken away in turn."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hostile_folder
import hostile_kernel
import hostile_programs
import hostile_secrets
import pytest
from hostile import FULL, MODES, NO_BUBBLEWRAP, NO_LANDLOCK, OLD_LANDLOCK, Hostile

import lightning_agentrl.tools.sandbox.worker
from lightning_agentrl.tools.sandbox import Execution, Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.layers import Layers, probe

WHO = "print(id(None))"
"""Where an interpreter put itself: a template that was replaced by a fresh one would say something else."""
PROGRAMS = [
    *hostile_programs.PROGRAMS,
    *hostile_secrets.PROGRAMS,
    *hostile_kernel.PROGRAMS,
    *hostile_folder.PROGRAMS,
]


CASES = [
    pytest.param(
        mode,
        program,
        id=f"{mode}: {program.name}",
        marks=[pytest.mark.slow] if program.slow or mode != NO_BUBBLEWRAP else [],
    )
    for mode in MODES
    for program in PROGRAMS
]
"""Every program in every mode; the quick tests take one mode, and leave out what takes its time."""


class Range:
    """Where programs are let loose: sandboxes by mode, and secrets for them to find."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.token = f"agentrl{secrets.token_hex(16)}"
        self.secret = folder / "secret.txt"
        self.secret.write_text(self.token)
        self.server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind(f"\0{secrets.token_hex(8)}")
        self.abstract.listen()
        self._stack, self._sandboxes = stack, dict[tuple[str, bool, bool], tuple[Sandbox, Execution]]()

    def sandbox(self, mode: str, program: Hostile) -> tuple[Sandbox, Execution]:
        """A sandbox, made once per mode and patience so that what one program spoils another finds; and who it is."""
        key = mode, program.writes, program.group == "time"
        if key not in self._sandboxes:
            settings = SandboxSettings(
                slots=1,
                timeout=0.5 if program.group == "time" else 20.0,
                memory_mb=200,
                preload=("math", "statistics"),
                writable=program.writes,
                writable_mb=4,
            )
            sandbox = Sandbox(settings, layers(mode))
            self._stack.callback(sandbox.close)
            self._sandboxes[key] = sandbox, sandbox.submit(WHO).result()
        return self._sandboxes[key]

    def fill(self, code: str) -> str:
        """A program with what it needs to know for its attack."""
        known = {
            "host": os.getpid(),
            "secret": self.secret,
            "folder": self.secret.parent,
            "home": Path.home(),
            "harness": lightning_agentrl.tools.sandbox.worker.__file__,
            "half": self.token[: len(self.token) // 2],
            "port": self.server.getsockname()[1],
            "abstract": self.abstract.getsockname()[1:].decode(),
        }
        for name, value in known.items():
            code = code.replace(f"@{name}@", str(value))
        return code


def layers(mode: str) -> Layers:
    """What contains programs in a mode."""
    if mode in (FULL, NO_LANDLOCK) and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    found = probe(1 << 22)
    assert found.landlock or mode == NO_LANDLOCK, "Landlock does not work here"
    assert found.bubblewrap or mode in (NO_BUBBLEWRAP, OLD_LANDLOCK), "bubblewrap is installed and does not work"
    return {
        FULL: found,
        NO_BUBBLEWRAP: Layers(None, found.landlock, found.seccomp),
        NO_LANDLOCK: Layers(found.bubblewrap, 0, found.seccomp),
        OLD_LANDLOCK: Layers(None, 1, found.seccomp),
    }[mode]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        ground = Range(tmp_path_factory.mktemp("trainer"), stack)
        patch.setenv("AGENTRL_TOKEN", ground.token)
        yield ground


@pytest.mark.parametrize(("mode", "program"), CASES)
def test_a_hostile_program_is_stopped_and_harms_nobody(mode: str, program: Hostile, ground: Range) -> None:
    sandbox, who = ground.sandbox(mode, program)
    seen = sandbox.submit(ground.fill(program.code)).result()
    assert program.problem(mode, seen.status, seen.text, seen.signal) is None
    assert ground.token not in seen.text
    assert "root:x:0" not in seen.text
    assert ground.secret.read_text() == ground.token
    assert not [path for path in ("/tmp/left", "/dev/shm/left", str(ground.secret) + ".left") if os.path.exists(path)]
    after = sandbox.submit(WHO).result()
    assert (after.status, after.text) == ("ok", who.text)
