"""How many tool calls does branching save? Independent rollouts and ARPO's branches at the same budget, alternating.

    .venv/bin/python benchmarks/tool_calls.py --rounds 3 --group-size 8 --out runs/tool_calls

Both run the command a user would type on the made-up world with vLLM, at learning rate 0, so that the policy is the
same throughout. Printed beside the measured ratio is what follows from where branches start: with c calls per
trajectory, a share b of branches, and j calls before a branch, it is 1 − b·j/c.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import fmean, median

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NAMES = ("tool/executed", "tool/calls", "branch/share", "branch/turn", "reward/mean", "rollout/generated_tokens")


def run(branching: str, round_number: int, options: argparse.Namespace) -> dict[str, float]:
    """Roll out once; means over the epochs of the run."""
    folder = options.out.resolve() / f"{branching}-{round_number}"
    command = [
        *(sys.executable, "-m", "lightning_agentrl", "fit", "-c", "base", "-c", "algorithm/grpo"),
        *("--data.branching", branching, "--data.group_size", str(options.group_size)),
        *("--seed_everything", str(round_number), "--trainer.max_epochs", str(options.epochs)),
        *("--model.optimizer.init_args.lr", "0", "--model.kl_coefficient", "0", "--trainer.limit_val_batches", "0"),
        *("--trainer.num_sanity_val_steps", "0", "--checkpoint.monitor", "null", "--transcripts.every_n_epochs", "0"),
        *("--trainer.logger.init_args.save_dir", str(folder), "--trainer.logger.init_args.version", "0"),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    events = EventAccumulator(str(folder / "agentrl" / "version_0"))
    events.Reload()
    known = set(events.Tags()["scalars"])
    return {name: fmean(p.value for p in events.Scalars(name)) if name in known else 0.0 for name in NAMES}


def main() -> None:
    """Alternate, then print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/tool_calls"))
    options = parser.parse_args()
    ratios = []
    print("| seed | calls, independent | calls, branches | ratio | predicted | calls per trajectory | tokens, ratio |")
    print("|---|---|---|---|---|---|---|")
    for number in range(options.rounds):
        flat, tree = (run(branching, number, options) for branching in ("Independent", "EntropyBranching"))
        ratio = tree["tool/executed"] / flat["tool/executed"]
        predicted = 1 - tree["branch/share"] * tree["branch/turn"] / tree["tool/calls"]
        tokens = tree["rollout/generated_tokens"] / flat["rollout/generated_tokens"]
        ratios.append(ratio)
        print(
            f"| {number} | {flat['tool/executed']:.0f} | {tree['tool/executed']:.0f} | {ratio:.3f} | {predicted:.3f} | "
            f"{flat['tool/calls']:.2f}, {tree['tool/calls']:.2f} | {tokens:.3f} |",
            flush=True,
        )
    print(f"\nmedian ratio of executed calls: {median(ratios):.3f}")


if __name__ == "__main__":
    main()
