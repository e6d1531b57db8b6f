"""Does every shipped algorithm learn? Runs each on the made-up world with real vLLM rollouts and prints a table.

    .venv/bin/python benchmarks/algorithms.py --seeds 0 1 2 --epochs 30 --jobs 2 --out runs/algorithms

Each run is the command a user would type, in a process of its own, with half the prompts per epoch. A run whose numbers
are there already is not repeated, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_agentrl.config_files import config_names


def run(algorithm: str, seed: int, epochs: int, prompts: int, out: Path, threads: int) -> dict[str, float]:
    """Train once; the numbers of the run, from its event file."""
    folder = out / f"{algorithm}-{seed}"
    kept = folder / "numbers.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "lightning_agentrl", "fit", "-c", "base", "-c", f"algorithm/{algorithm}"),
        *("--seed_everything", str(seed), "--trainer.max_epochs", str(epochs)),
        *("--trainer.check_val_every_n_epoch", str(epochs), "--data.prompts_per_epoch", str(prompts)),
        *("--trainer.logger.init_args.save_dir", str(folder), "--trainer.logger.init_args.version", "0"),
        *("--transcripts.every_n_epochs", "0"),
    ]
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        print(f"{algorithm} with seed {seed} failed; see {folder / 'log.txt'}", file=sys.stderr)
        return {}
    events = EventAccumulator(str(folder / "agentrl" / "version_0"))
    events.Reload()
    reward = [point.value for point in events.Scalars("reward/mean")]
    success = [point.value for point in events.Scalars("val/success")]
    numbers = {
        "reward_first": reward[0],
        "reward_last": fmean(reward[-3:]),
        "success_before": success[0],
        "success_after": success[-1],
        "seconds": time.perf_counter() - start,
    }
    kept.write_text(json.dumps(numbers))
    return numbers


def main() -> None:
    """Run all combinations, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    shipped = [name.removeprefix("algorithm/") for name in config_names() if name.startswith("algorithm/")]
    parser.add_argument("--algorithms", nargs="+", default=shipped)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/algorithms"))
    options = parser.parse_args()
    threads = max((os.cpu_count() or 1) // options.jobs, 1)
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {
            (algorithm, seed): pool.submit(
                run, algorithm, seed, options.epochs, options.prompts, options.out.resolve(), threads
            )
            for seed in options.seeds
            for algorithm in options.algorithms
        }
        print("| algorithm | reward, first → last 3 epochs | greedy success, before → after | seconds |")
        print("|---|---|---|---|")
        for algorithm in options.algorithms:
            runs = [result for seed in options.seeds if (result := running[algorithm, seed].result())]
            if not runs:
                continue
            reward = ", ".join(f"{r['reward_first']:.2f} → {r['reward_last']:.2f}" for r in runs)
            success = ", ".join(f"{r['success_before']:.2f} → {r['success_after']:.2f}" for r in runs)
            print(f"| {algorithm} | {reward} | {success} | {fmean(r['seconds'] for r in runs):.0f} |", flush=True)


if __name__ == "__main__":
    main()
