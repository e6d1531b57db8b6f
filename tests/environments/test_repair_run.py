"""Repositories and real rollouts: an expert in tokens, and training with a policy that knows nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from repairs import mending, started
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import StopReason

FORMAT = HermesFormat()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["def f(number: int) -> int:", "The repository:"] * 2, 512)


def test_an_expert_in_tokens_resolves_a_repository_that_an_idler_does_not(tokenizer: PreTrainedTokenizerBase) -> None:
    environment = started()
    task = environment.tasks("train")[0]
    (edit,) = mending(environment._repositories[task.id]).calls
    calls = [{"name": "run_tests", "arguments": {}}, {"name": "edit", "arguments": dict(edit.arguments)}]
    said = [*(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls), "It is repaired."]

    def speak(ids: list[int], idle: bool) -> list[int]:
        turn = tokenizer.decode(ids).count("<|im_start|>assistant") - 1
        return FORMAT.action(tokenizer, said[-1] if idle else said[turn])

    try:
        for idle, outcome, turns in ((False, 1.0, 3), (True, 0.0, 1)):
            engine = ScriptedEngine(lambda ids, params, idle=idle: speak(ids, idle), tokenizer=tokenizer)
            sampler = Sampler(engine, environment, FORMAT, Independent(), tokenizer, Limits(5, 1000, 4000))
            (rollout,) = asyncio.run(sampler.collect([Job(task, 0, 1)], temperature=1.0, seed=0, epoch=0))
            assert (rollout.outcome, len(rollout.turns), rollout.stop) == (outcome, turns, StopReason.FINISHED)
    finally:
        environment.close()


@pytest.fixture
def policy(tmp_path: Path) -> str:
    environment = started()
    texts = [message["content"] for task in environment.tasks("train") for message in task.messages]
    tokenizer = train_tokenizer(texts, 512)
    torch.manual_seed(0)
    TinyPolicy(vocab_size=512, hidden_size=64, layers=1, context=1024).build(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_three_epochs_with_a_random_policy_collect_judge_and_learn(policy: str, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Record(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    environment = started(validation_projects=1)
    data = AgentRLDataModule(
        environment=environment,
        engine=TransformersEngine(),
        format=FORMAT,
        prompts_per_epoch=2,
        group_size=2,
        max_turns=3,
        max_turn_tokens=12,
        max_model_len=640,
        success_by="bug",
    )
    module = AgentRLModule(
        policy=policy,
        credit=GRPO(),
        loss=ClippedLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
    )
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=3,
        callbacks=[Record()],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3
    # A policy that writes nonsense changes no file, so it resolves nothing and breaks nothing.
    assert [epoch["reward/mean"] for epoch in seen] == [0.0, 0.0, 0.0]
    assert environment._sandbox._crew is None
