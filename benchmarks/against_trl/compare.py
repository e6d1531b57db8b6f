"""Side by side with TRL's GRPOTrainer, in three tests, each with the same tokens or the same task on both sides.

    .venv/bin/python benchmarks/against_trl/compare.py --tests updates rollouts world --out runs/against_trl

Needs the pinned environment and, on top, ``pip install --no-deps trl==1.16.0 datasets==5.2.0 multiprocess==0.70.19
dill==0.4.1 pandas==3.1.1 xxhash==4.1.0``. Runs are processes of their own, one at a time, and take turns; what is there
already is not run again. Compared are medians of steps, without the first two of each run; a ratio is one per round.

updates: both train on recorded rollouts. Losses and gradient norms have to agree to 1e-4 of themselves.
rollouts: both answer the same questions greedily, with a search tool. All tokens have to be equal.
world: both train the quick start's task from the same cold-started policy, end to end.

TRL runs in its fastest settings on a CPU: `generate`, no gradient checkpointing, no pass for old log-probs (it needs
none without vLLM), a fused optimizer, and in updates the best of several numbers of rollouts per forward.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from recorded import SHAPES, make_policy, record

HERE = Path(__file__).parent
WARM_UP = 2
"""Steps of a run that are not counted."""
TOLERANCE = 1e-4
QUIET = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run(script: str, out: Path, *arguments: object) -> dict[str, Any]:
    """What a script wrote, unless it has before."""
    if not out.is_file():
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        # vLLM binds its threads by itself; the other engines have one per core.
        threads = {"OMP_NUM_THREADS": str(os.cpu_count())} if script.endswith("trl.py") else {}
        with out.with_name(f"{out.name}.log").open("w") as log:
            subprocess.run(command, stdout=log, stderr=log, env={**os.environ, **QUIET, **threads}, check=True)
    return dict(json.loads(out.read_text()))


def seconds(result: dict[str, Any], what: str = "seconds") -> list[float]:
    """Of the steps that count."""
    return [step[what] for step in result["steps"][WARM_UP:]]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles."""
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest relative difference of losses and norms.

    Raises:
        SystemExit: when it is more than rounding, for then the two train something else.
    """
    pairs = [(a[k], b[k]) for a, b in zip(ours["steps"], theirs["steps"], strict=True) for k in ("loss", "grad_norm")]
    worst = max(abs(a - b) / abs(b) for a, b in pairs)
    if not worst <= TOLERANCE or not all(math.isfinite(a) for a, _ in pairs):
        raise SystemExit(f"Losses or norms differ by {worst:.1e} of themselves: {pairs}")
    return worst


def updates(out: Path, rounds: int, sizes: Sequence[str], steps: int) -> None:
    """Print a line for each size of the policy and each shape of rollouts."""
    print("\n| policy | rollouts | rows per forward of TRL | TRL, s | here, s | times faster | TRL, MiB | here, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        policy = make_policy(size, out / size)
        for shape in SHAPES:
            rollouts = out / f"{shape}.json"
            count = len(record(shape, rollouts))
            ours: list[dict[str, Any]] = []
            theirs: dict[int, list[dict[str, Any]]] = {rows: [] for rows in (4, count // 2, count)}
            for number in range(rounds):
                name = f"updates-{size}-{shape}-{number}"
                file = out / f"{name}-agentrl.json"
                ours.append(run("train_agentrl.py", file, policy, rollouts, steps, file))
                for rows, results in theirs.items():
                    file = out / f"{name}-trl-{rows}.json"
                    results.append(run("train_trl.py", file, policy, rollouts, steps, file, rows))
                    agree(ours[-1], results[-1])
            best = min(theirs, key=lambda rows: median(s for r in theirs[rows] for s in seconds(r)))
            both = list(zip(ours, theirs[best], strict=True))
            ratio = [median(seconds(b)) / median(seconds(a)) for a, b in both]
            slow, fast = ([s for r in results for s in seconds(r)] for results in (theirs[best], ours))
            used = [median(r["peak_mib"] - r["rest_mib"] for r in results) for results in (theirs[best], ours)]
            cells = [size, shape, best, spread(slow), spread(fast), f"**{spread(ratio)}**", *(f"{m:.0f}" for m in used)]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def rollouts(out: Path, rounds: int, steps: int) -> None:
    """Print a line for each latency of the search."""
    print("\n| a search takes | TRL, s | TRL with a coroutine, s | here, s | times faster than the better one |")
    print("|---|---|---|---|---|")
    for latency in (0.0, 0.05):
        found: dict[str, list[list[float]]] = {"plain": [], "coroutine": [], "ours": []}
        for number in range(rounds):
            tokens = []
            for name, script, more in (
                ("ours", "rollouts_agentrl.py", []),
                ("plain", "rollouts_trl.py", []),
                ("coroutine", "rollouts_trl.py", ["--coroutine"]),
            ):
                file = out / f"rollouts-{latency}-{number}-{name}.json"
                options = ("--steps", steps, "--latency", latency, "--out", file)
                result = run(script, file, *options, *more)
                tokens.append(result["completions"])
                found[name].append(result["seconds"][WARM_UP:])
            if tokens[1:] != tokens[:-1]:
                raise SystemExit(f"Rollouts differ; see {out}.")
        best = min(("plain", "coroutine"), key=lambda name: median(s for run in found[name] for s in run))
        ratio = [median(b) / median(a) for a, b in zip(found["ours"], found[best], strict=True)]
        cells = [spread([s for run in found[name] for s in run]) for name in ("plain", "coroutine", "ours")]
        print("| " + " | ".join([f"{latency:g} s", *cells, f"**{spread(ratio)}**"]) + " |", flush=True)


def world(out: Path, rounds: int, steps: int, rows: Sequence[int], vllm: bool) -> None:
    """Print a line for each side: seconds, and what was earned after how long."""
    print("\n| | seconds per step | of them rollouts | reward, first 5 steps → last 5 | greedy success | after, s |")
    print("|---|---|---|---|---|---|")
    sides: dict[str, tuple[str, list[object]]] = {"here": ("world_agentrl.py", [])}
    sides |= {f"TRL, {n} rows": ("world_trl.py", ["--rows", n]) for n in rows}
    if vllm:
        sides |= {f"TRL, vLLM, {n} rows": ("world_trl.py", ["--rows", n, "--vllm"]) for n in rows}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for seed in range(rounds):
        for name, (script, more) in sides.items():
            file = out / f"world-{seed}-{name.replace(', ', '-').replace(' ', '-')}.json"
            trained = run(script, file, "--steps", steps, "--seed", seed, "--out", file, *more)
            judged = file.with_suffix(".judged")
            options = ("--steps", 1, "--policy", file.with_suffix(""), "--out", judged)
            found[name].append(trained | {"success": run("rollouts_agentrl.py", judged, *options)["success"]})
    for name, results in found.items():
        took, sampling = ([s for r in results for s in seconds(r, what)] for what in ("seconds", "rollout"))
        earned = [
            [fmean(step["reward"] for step in part) for part in (r["steps"][:5], r["steps"][-5:])] for r in results
        ]
        rewards = ", ".join(f"{first:.2f} → {last:.2f}" for first, last in earned)
        after = median(sum(step["seconds"] for step in r["steps"]) for r in results)
        successes = ", ".join(f"{r['success']:.2f}" for r in results)
        print(f"| {name} | {spread(took)} | {spread(sampling)} | {rewards} | {successes} | {after:.0f} |", flush=True)
    ours = [median(seconds(r)) for r in found.pop("here")]
    for name, results in found.items():
        ratio = [median(seconds(r)) / mine for r, mine in zip(results, ours, strict=True)]
        print(f"\nsteps per second, here over {name}: {spread(ratio)}")


def main() -> None:
    """Run the tests that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", nargs="+", choices=("updates", "rollouts", "world"), default=["updates"])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=7, help="of a run of updates or rollouts")
    parser.add_argument("--world-steps", type=int, default=50)
    parser.add_argument("--rows", nargs="+", type=int, default=[32], help="what TRL tries end to end")
    parser.add_argument("--vllm", action="store_true", help="and TRL with vLLM, mended by patched_vllm.py")
    parser.add_argument("--out", type=Path, default=Path("runs/against_trl"))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(f"load average {os.getloadavg()[0]:.1f}")
    if "updates" in options.tests:
        updates(out, options.rounds, options.sizes, options.steps)
    if "rollouts" in options.tests:
        rollouts(out, options.rounds, options.steps)
    if "world" in options.tests:
        world(out, options.rounds, options.world_steps, options.rows, options.vllm)


if __name__ == "__main__":
    main()
