"""Runs of the whole architecture, small enough for a unit test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.testing import ToyEnvironment


def module(policy: str, lr: float = 3e-3, **options: Any) -> AgentRLModule:
    return AgentRLModule(
        policy=policy,
        credit=options.pop("credit", GRPO()),
        loss=options.pop("loss", ClippedLoss()),
        optimizer=options.pop("optimizer", lambda parameters: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)),
        **options,
    )


def data(environment: ToyEnvironment | None = None, **options: Any) -> AgentRLDataModule:
    settings: dict[str, Any] = {
        "prompts_per_epoch": 4,
        "group_size": 4,
        "max_turns": 3,
        "max_turn_tokens": 6,
        "max_model_len": 128,
        **options,
    }
    return AgentRLDataModule(
        environment=environment or ToyEnvironment(),
        engine=settings.pop("engine", None) or TransformersEngine(),
        format=HermesFormat(),
        **settings,
    )


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "devices": 1,
        **options,
    }
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **settings)
