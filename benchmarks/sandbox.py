"""What a call of the Python sandbox costs, and whether ten thousand of them go well.

    .venv/bin/python benchmarks/sandbox.py --calls 1000
    .venv/bin/python benchmarks/sandbox.py --soak 10000

The soak sends a mixture of programs whose end is known, hostile ones among them, through two slots. It fails if any
ends otherwise, whatever the reason: a timeout that nobody can explain is a fault until it is explained. Compared
settings take turns, call by call, so that a noisy machine slows all of them down.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

from lightning_agentrl.tools.sandbox import Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.layers import probe

PROGRAM = "total = sum(range(100))\nprint(total)"
MIXTURE = (
    (PROGRAM, "ok", "4950\n"),
    ("40 + 2", "ok", "42\n"),
    ("import math\nmath.comb(20, 10)", "ok", "184756\n"),
    ("import sympy\nx = sympy.Symbol('x')\nsympy.expand((x + 1)**3)", "ok", "x**3 + 3*x**2 + 3*x + 1\n"),
    ("import random, statistics\nprint(0 < statistics.mean(random.random() for _ in range(99)) < 1)", "ok", "True\n"),
    ("def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\nf(15)", "ok", "610\n"),
    ("1 / 0", "error", "ZeroDivisionError: division by zero\n"),
    ("import os\nos.fork()", "error", "PermissionError: [Errno 1] Operation not permitted\n"),
    ("import os\nos.kill(os.getppid(), 9)", "error", "PermissionError: [Errno 1] Operation not permitted\n"),
    ("print('x' * 99999)", "output", "x"),
    ("import ctypes\nctypes.string_at(0)", "killed", ""),
)
"""Programs, how they must end, and the end of what they must print."""


def load() -> str:
    """Programs that want a core, over the last one and five minutes."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} / {five:.1f}"


def percentiles(seconds: Sequence[float]) -> str:
    """p50, p95, p99 and the worst, in milliseconds."""
    ordered = sorted(seconds)
    cells = [median(ordered), *(ordered[int(share * len(ordered))] for share in (0.95, 0.99)), ordered[-1]]
    return " | ".join(f"{1000 * cell:.1f}" for cell in cells)


def latency(calls: int) -> None:
    """Time calls one after the other, with all layers and with the inner ones only."""
    inner = replace(probe(), bubblewrap=None)
    sandboxes = {
        f"{name}, {view}": Sandbox(SandboxSettings(slots=1, preload=preload), layers)
        for name, preload in (("plain", ("math",)), ("SymPy", ("math", "statistics", "sympy")))
        for view, layers in (("all layers", probe()), ("without bubblewrap", inner))
    }
    starts, seconds = {}, {name: list[float]() for name in sandboxes}
    for name, sandbox in sandboxes.items():
        begun = time.perf_counter()
        sandbox.submit(PROGRAM).result()
        starts[name] = time.perf_counter() - begun
    for _ in range(calls):
        for name, sandbox in sandboxes.items():
            begun = time.perf_counter()
            if sandbox.submit(PROGRAM).result().text != "4950\n":
                sys.exit("a call failed")
            seconds[name].append(time.perf_counter() - begun)
    print("| sandbox | start, ms | p50, ms | p95 | p99 | max |\n|---|---|---|---|---|---|")
    for name, sandbox in sandboxes.items():
        print(f"| {name} | {1000 * starts[name]:.0f} | {percentiles(seconds[name])} |", flush=True)
        sandbox.close()


def throughput(calls: int) -> None:
    """Time a crowd of calls at once."""
    for slots in (1, 2):
        sandbox = Sandbox(SandboxSettings(slots=slots))
        for warm in [sandbox.submit("import time\ntime.sleep(0.2)") for _ in range(slots)]:
            warm.result()
        begun = time.perf_counter()
        for call in [sandbox.submit(PROGRAM) for _ in range(calls)]:
            call.result()
        print(f"{slots} slots: {calls / (time.perf_counter() - begun):.0f} calls/s", flush=True)
        sandbox.close()


def soak(calls: int) -> int:
    """Number of calls that ended otherwise than they must."""
    wrong: Counter[str] = Counter()
    seconds = []
    sandbox = Sandbox()
    before = len(list(Path("/proc/self/fd").iterdir()))
    begun = time.perf_counter()
    numbers = iter(range(calls))
    while batch := list(islice(numbers, 200)):
        running = [
            (MIXTURE[number % len(MIXTURE)], sandbox.submit(MIXTURE[number % len(MIXTURE)][0])) for number in batch
        ]
        for (code, status, ending), call in running:
            seen = call.result()
            seconds.append(seen.seconds)
            if seen.status != status or not seen.text.endswith(ending):
                wrong[code] += 1
                print(f"{code!r} ended {seen.status} {seen.signal} after {seen.seconds:.2f} s: {seen.text[-300:]!r}")
    rate = calls / (time.perf_counter() - begun)
    sandbox.close()
    left = len(list(Path("/proc/self/fd").iterdir())) - before
    print(f"{calls} calls, {wrong.total()} wrong, {rate:.0f} calls/s, {left} descriptors left")
    print(f"| p50, ms | p95 | p99 | max |\n|---|---|---|---|\n| {percentiles(seconds)} |")
    return wrong.total() + (left > 0)


def main() -> None:
    """Measure, or soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="calls per setting")
    parser.add_argument("--soak", type=int, default=0, help="calls of the mixture instead; fails on any surprise")
    options = parser.parse_args()
    print(f"{probe()}\n{load()} at the beginning", flush=True)
    wrong = 0
    if options.soak:
        wrong = soak(options.soak)
    else:
        latency(options.calls)
        throughput(options.calls)
    print(f"{load()} at the end")
    sys.exit(min(wrong, 1))


if __name__ == "__main__":
    main()
