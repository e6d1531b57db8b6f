"""TRL's side of the end-to-end comparison: GRPOTrainer with a tool, in a process of its own."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from typing import Any

from datasets import Dataset
from patched_vllm import patch
from resources import peak, rest
from settings import TRL
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_template
from world import (
    BETAS,
    COMPLETION,
    LEARNING_RATE,
    PROMPTS,
    SIBLINGS,
    TURNS,
    World,
    arguments,
    load,
    search_function,
    verdict,
)

SAID = '"<|im_start|>" + message.role + "\\n" + message.content'
CALLS = (
    SAID + ' }}{%- for call in message.tool_calls or [] %}{{- "<tool_call>\\n" + (call.function | tojson) + '
    '"\\n</tool_call>" }}{%- endfor %}{{- ""'
)
"""TRL wants a template that writes calls; prompts are the same with either."""


class Clock(TrainerCallback):
    """Seconds of each step, from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = self.before = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Start the clock, once."""
        self.before = self.before or time.perf_counter()
        self.started = self.started or self.before

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Note the time since the last step."""
        now = time.perf_counter()
        self.seconds.append(now - self.before)
        self.before = now


class Timed(GRPOTrainer):
    """Knows how long rollouts took."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rollouts: list[float] = []
        self.completions: list[list[int]] = []
        """Of the last collection, with what tools returned."""

    def _generate(self, prompts: list[Any]) -> Any:
        start = time.perf_counter()
        generated = super()._generate(prompts)
        self.rollouts.append(time.perf_counter() - start)
        self.completions = generated[1]
        return generated


def reward(completions: list[list[dict[str, Any]]], answers: list[list[str]], **others: Any) -> list[float]:
    """Verdict on what was said last."""
    last = [completion[-1] for completion in completions]
    said = [str(turn.get("content") or "") if turn["role"] == "assistant" else "" for turn in last]
    return [verdict(*pair) for pair in zip(said, answers, strict=True)]


def make(world: World, options: Namespace, rows: int, **more: Any) -> Timed:
    """A trainer with the settings of our side; ``rows`` rollouts per forward of an update."""
    search = search_function(world, options.latency, options.coroutine)
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    tokenizer.chat_template = tokenizer.chat_template.replace(SAID, CALLS)
    tokenizer.response_template = qwen3_template
    config = GRPOConfig(
        output_dir=str(options.out.parent / "trl"),
        num_generations=SIBLINGS,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=PROMPTS * SIBLINGS // rows,
        max_completion_length=COMPLETION,
        max_tool_calling_iterations=TURNS - 1,
        learning_rate=LEARNING_RATE,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        seed=options.seed,
        max_steps=options.steps,
        **TRL,
        **more,
    )
    return Timed(
        model=str(world.policy),
        processing_class=tokenizer,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(questions(world)),
        tools=[search],
    )


def questions(world: World) -> list[dict[str, Any]]:
    """Training questions as TRL takes them."""
    tasks = world.environment.tasks("train")
    return [{"prompt": [dict(m) for m in task.messages], "answers": list(task.answers)} for task in tasks]


def main() -> None:
    """Train, and write what each step took and earned, memory, and the policy."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=32, help="rollouts per forward of an update")
    parser.add_argument("--vllm", action="store_true", help="let it roll out with vLLM, mended")
    options = parser.parse_args()
    engine: dict[str, Any] = {}
    if options.vllm:
        patch()
        engine = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": COMPLETION + 64}
    world = load()
    clock, start, before = Clock(), time.perf_counter(), rest()
    trainer = make(world, options, options.rows, **engine)
    trainer.add_callback(clock)
    trainer.train()
    trainer.save_model(str(options.out.with_suffix("")))
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    steps = [
        {"seconds": seconds, "rollout": rollout, "reward": entry["reward"], "turns": 1 + entry["tools/call_frequency"]}
        for seconds, rollout, entry in zip(clock.seconds, trainer.rollouts, logged, strict=True)
    ]
    memory = {"rest_mib": before, "peak_mib": peak()}
    options.out.write_text(json.dumps({"steps": steps, "start_up": clock.started - start, **memory}))


if __name__ == "__main__":
    main()
