"""The child process of `MathVerify`: one request per line, one reply per line. A script; it imports nothing of ours.

Arguments: bytes of memory, seconds of CPU per request, process id of the parent. A request is
``{"golden": [LaTeX …], "answer": LaTeX, "options": {…}}``, a reply ``{"equal": bool, "error": text or null}``.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any

PR_SET_PDEATHSIG = 1


def main(memory: int, seconds: float, parent: int) -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get between the replies
    _confine(memory, parent)
    try:
        import math_verify  # noqa: F401 - it takes a second, which no request's time should pay for
    except ImportError as error:
        _say(replies, {"ready": False, "error": str(error)})
        return
    _say(replies, {"ready": True})
    for line in sys.stdin:
        # The kernel ends the process when this much CPU is used up, however deep in a C function it is, and also when
        # nobody waits any more. Seconds on the clock would make verdicts depend on what else the machine does.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = _reply(**json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(replies, reply)


def _reply(golden: Sequence[str], answer: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"equal": _equal(golden, answer, options), "error": None}
    except Exception as error:  # noqa: BLE001 - answers are hostile: recursion, memory, whatever sympy comes to
        return {"equal": False, "error": type(error).__name__}


def _equal(golden: Sequence[str], answer: str, options: dict[str, Any]) -> bool:
    """Whether the answer equals one of the golden ones. Their own time limits are off: they need signals, or hang."""
    from math_verify import LatexExtractionConfig, parse, verify

    def parsed(latex: str) -> Any:
        config = [LatexExtractionConfig(boxed_match_priority=0)]
        return parse(f"\\boxed{{{latex}}}", config, fallback_mode="no_fallback", parsing_timeout=None)

    accepted = [read for text in golden if (read := parsed(text))]
    if not accepted:
        raise ValueError("none of the golden answers can be read")
    said = parsed(answer)
    return bool(said) and any(verify(read, said, timeout_seconds=None, **options) for read in accepted)


def _confine(memory: int, parent: int) -> None:
    """Bound the memory, and see to it that this process does not outlive its parent."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before that took effect
        sys.exit()


def _say(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
