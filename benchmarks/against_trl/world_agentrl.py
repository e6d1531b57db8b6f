"""Our side of the end-to-end comparison: rollouts by vLLM, updates, in a process of its own."""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from resources import peak, rest
from settings import AGENTRL
from world import BETAS, COMPLETION, LEARNING_RATE, PROMPTS, SIBLINGS, TURNS, World, arguments, load

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.testing.retriever import SlowRetriever
from lightning_agentrl.tools.retrieval import BM25


class Clock(Callback):
    """What each step took, from the end of the one before, and earned."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.started = self.before = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.before = time.perf_counter()
        self.started = self.started or self.before

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the step took and came to."""
        metrics: dict[str, Any] = trainer.callback_metrics
        seconds = time.perf_counter() - self.before
        numbers = {
            "reward": metrics["reward/mean"],
            "rollout": metrics["time/rollout"],
            "turns": metrics["rollout/turns"],
        }
        self.steps.append({"seconds": seconds, **{name: float(value) for name, value in numbers.items()}})


def data(world: World, latency: float, seed: int) -> AgentRLDataModule:
    """The same questions, limits and search as TRL gets."""
    folder = world.environment.data_dir
    assert folder is not None
    slow = SlowRetriever(BM25(folder / "corpus.jsonl"), latency) if latency else None
    return AgentRLDataModule(
        environment=SearchQA(folder, top_k=world.environment.top_k, retriever=slow),
        engine=VLLMEngine(),
        format=HermesFormat(),
        prompts_per_epoch=PROMPTS,
        group_size=SIBLINGS,
        max_turns=TURNS,
        max_turn_tokens=COMPLETION,
        max_model_len=COMPLETION + 64,
        seed=seed,
    )


def main() -> None:
    """Train, and write what each step took and earned, memory, and the policy."""
    options = arguments(__doc__).parse_args()
    seed_everything(options.seed)
    world = load()
    learner = AgentRLModule(
        policy=str(world.policy),
        credit=GRPO(eps=1e-4),
        optimizer=lambda p: torch.optim.AdamW(p, lr=LEARNING_RATE, betas=BETAS, weight_decay=0.0, fused=True),
    )
    clock, start, before = Clock(), time.perf_counter(), rest()
    trainer = Trainer(max_epochs=options.steps, callbacks=[clock], **AGENTRL)
    trainer.fit(learner, datamodule=data(world, options.latency, options.seed))
    learner.network.save_pretrained(options.out.with_suffix(""))
    learner.tokenizer.save_pretrained(options.out.with_suffix(""))
    memory = {"rest_mib": before, "peak_mib": peak()}
    options.out.write_text(json.dumps({"steps": clock.steps, "start_up": clock.started - start, **memory}))


if __name__ == "__main__":
    main()
