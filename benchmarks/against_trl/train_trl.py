"""TRL's side of `compare.py`: updates on recorded rollouts, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from recorded import LEARNING_RATE, SIBLINGS, read
from resources import peak, rest
from settings import TRL
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):
    """Seconds of each step, from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.before = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Start the clock, once."""
        self.before = self.before or time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Note the time since the last step."""
        now = time.perf_counter()
        self.seconds.append(now - self.before)
        self.before = now


def main(policy: str, rollouts: Path, steps: int, out: Path, rows: int) -> None:
    """Train with ``rows`` rollouts per forward, and write seconds, losses, norms and memory."""
    recorded = read(rollouts)

    def roll_out(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        return {
            "prompt_ids": [rollout.prompt for rollout in recorded],
            "completion_ids": [rollout.completion for rollout in recorded],
            "logprobs": [[0.0] * len(rollout.completion) for rollout in recorded],
            "env_mask": [rollout.sampled for rollout in recorded],
        }

    def reward(completions: list[Any], **others: Any) -> list[float]:
        return [rollout.reward for rollout in recorded]

    config = GRPOConfig(
        output_dir=str(out.parent / "trl"),
        num_generations=SIBLINGS,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=len(recorded) // rows,
        max_completion_length=4096,
        learning_rate=LEARNING_RATE,
        shuffle_dataset=False,
        seed=0,
        max_steps=steps,
        **TRL,
    )
    prompts = [{"prompt": str(number)} for number in range(len(recorded) // SIBLINGS)]
    clock = Clock()
    trainer = GRPOTrainer(
        model=policy,
        processing_class=AutoTokenizer.from_pretrained(policy),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(prompts),
        rollout_func=roll_out,
        callbacks=[clock],
    )
    before = rest()
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    found = [
        {"seconds": seconds, "loss": entry["loss"], "grad_norm": entry["grad_norm"]}
        for seconds, entry in zip(clock.seconds, logged, strict=True)
    ]
    out.write_text(json.dumps({"steps": found, "rest_mib": before, "peak_mib": peak()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
