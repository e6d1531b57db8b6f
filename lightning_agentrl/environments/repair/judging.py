"""Whether a repository is repaired: expressions are evaluated in the sandbox, their results compared outside."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_agentrl.data.repair_run import raised, show
from lightning_agentrl.data.repair_tasks import Repository
from lightning_agentrl.environments.repair import inside
from lightning_agentrl.tools.sandbox import Sandbox

HARNESS = f"{inspect.getsource(inside)}\n\n{inspect.getsource(show)}\n\n{inspect.getsource(raised)}"
MORE = {
    "error": "The tests were ended by an error.",
    "timeout": "The tests took too long and were stopped.",
    "memory": "The tests ran out of memory.",
    "output": "The tests printed too much and were stopped.",
    "disk": "The tests wrote too much and were stopped.",
    "killed": "The tests crashed.",
}
"""What is added to their output where they did not end by themselves, by status."""
MOST_SHOWN = 3000
"""Characters of the tests' output that are shown, the last ones."""


@dataclass(frozen=True)
class Verdict:
    """Which cases hold."""

    passed: frozenset[int]
    """Their numbers."""
    repository: Repository

    @property
    def resolved(self) -> bool:
        """Whether all hold: those that failed at first and those that passed, as SWE-bench counts it."""
        return len(self.passed) == len(self.repository.cases)

    @property
    def parts(self) -> dict[str, float]:
        """Shares of all cases, of those that failed at first, and of those that passed."""
        every = frozenset(range(len(self.repository.cases)))
        broken = self.repository.failing
        return {
            "cases": len(self.passed) / len(every),
            "fail_to_pass": len(self.passed & broken) / len(broken),
            "pass_to_pass": len(self.passed - broken) / len(every - broken),
        }


async def judge(repository: Repository, files: Mapping[str, str], sandbox: Sandbox) -> Verdict:
    """The verdict on files. Files as they were at first are not run: what they do is known.

    A program can print whatever it likes, our lines included, since it shares a process with who evaluates. It gains
    nothing: it would have to print what the expressions should come to, and nothing in the sandbox knows that. A case
    that is reported twice counts as failed.

    Raises:
        InfrastructureError: when the sandbox failed.
    """
    if files == repository.files:
        reported: dict[int, str] = dict(enumerate(repository.actual))
    else:
        nonce = secrets.token_hex(8)
        call = f"run_cases({nonce!r}, {dict(repository.home)!r}, {list(repository.cases)!r}, show, raised)"
        execution = await sandbox.run(f"{HARNESS}\n\n{call}\n", files)
        reported = read(execution.text, nonce)
    passed = (number for number, text in enumerate(repository.expected) if reported.get(number) == text)
    return Verdict(frozenset(passed), repository)


async def run_visible(files: Mapping[str, str], sandbox: Sandbox) -> tuple[str, bool]:
    """What the tests in sight print, and whether they ended by themselves; for the policy to read, not to believe."""
    paths = sorted(path for path in files if path.rpartition("/")[2].startswith("test_"))
    execution = await sandbox.run(f"{HARNESS}\n\nrun_tests({paths!r})\n", files)
    text = execution.text.strip()
    text = text if len(text) <= MOST_SHOWN else f"[cut off]\n{text[-MOST_SHOWN:]}"  # the summary comes last
    if execution.status == "ok":
        return text or "The tests printed nothing.", True
    return f"{text}\n{MORE[execution.status]}".lstrip(), False


def read(printed: str, nonce: str) -> dict[int, str]:
    """Results by number of the case, from lines of nonce, number and result; without those that come twice."""
    reported: dict[int, str] = {}
    twice: set[int] = set()
    for line in printed.splitlines():
        mark, _, rest = line.partition(" ")
        digits, _, text = rest.partition(" ")
        if mark != nonce or not (digits.isascii() and digits.isdigit() and len(digits) < 6):
            continue
        number = int(digits)
        if number in reported:
            twice.add(number)
        reported[number] = text
    return {number: text for number, text in reported.items() if number not in twice}
