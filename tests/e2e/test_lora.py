"""Runs with LoRA: what moves, what the reference is, what a checkpoint holds, what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import data, module, trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.policy.lora import is_adapter, plain_weights
from lightning_agentrl.strategies import FSDP2Strategy
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import Signal


def test_the_reference_equals_a_frozen_copy_and_is_no_second_model(policy: str, tmp_path: Path) -> None:
    """Reference log-probs of a policy whose adapters moved, against those that a full run has from its own copy."""
    batch = rollouts([[2, 3], [1]], rewards=[1.0, 0.0])
    scored = []
    for lora in (None, Lora()):
        model = module(policy, lora=lora, kl_coefficient=0.1)
        trainer(tmp_path, max_epochs=1).fit(model, datamodule=data())
        scored.append(model.score(batch, Signal.REF_LOGPROBS | Signal.OLD_LOGPROBS))
        assert (model._reference.copy is None) == (lora is not None)
    assert torch.equal(scored[0].ref_logprobs, scored[1].ref_logprobs)
    assert not torch.equal(scored[1].ref_logprobs, scored[1].old_logprobs)


def fitted(policy: str, folder: Path, epochs: int, lora: Lora | None = None, **options: Any) -> AgentRLModule:
    saver = ModelCheckpoint(folder, save_last=True)
    model = module(policy, lora=lora or Lora(r=2))
    trainer(folder, saver, max_epochs=epochs, enable_checkpointing=True).fit(model, datamodule=data(), **options)
    return model


@pytest.mark.parametrize(
    ("options", "precision", "gap"),
    [
        ({"dtype": "bfloat16", "lora": Lora(), "float32_head": True}, "32-true", 0.3),
        ({"dtype": "bfloat16", "lora": Lora(), "gradient_checkpointing": True}, "bf16-mixed", 0.3),
        ({"float32_head": True, "optimizer": partial(torch.optim.AdamW, lr=3e-3, fused=True)}, "bf16-mixed", 0.3),
    ],
    ids=["bfloat16 and a float32 head", "bfloat16 under autocast", "fused under autocast"],
)
def test_every_form_of_a_policy_starts_at_ratio_one_and_moves(
    policy: str, tmp_path: Path, options: dict[str, Any], precision: str, gap: float
) -> None:
    """Gradients are clipped, engine and trainer agree within the rounding of what they compute in."""
    model = module(policy, **options)
    runner = trainer(tmp_path, max_epochs=2, precision=precision, gradient_clip_val=0.5)
    runner.fit(model, datamodule=data())
    assert runner.callback_metrics["policy/ratio_deviation"] == 0
    assert runner.callback_metrics["policy/parity_gap"] <= gap
    trained = [p for p in model.network.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    start = dict(PolicySpec(policy, options.get("dtype", "float32"), options.get("lora")).load().named_parameters())
    moved = [not torch.equal(p, start[name]) for name, p in model.network.named_parameters() if p.requires_grad]
    assert all(moved)


def test_the_first_ratio_is_one_and_only_adapters_move(policy: str, tmp_path: Path) -> None:
    model = module(policy, lora=Lora(r=4))
    runner = trainer(tmp_path, max_epochs=2)
    runner.fit(model, datamodule=data())
    assert runner.callback_metrics["policy/ratio_deviation"] == 0
    assert runner.callback_metrics["policy/parity_gap"] <= 1e-4
    base = PolicySpec(policy).load().state_dict()
    assert all(torch.equal(base[name], tensor) for name, tensor in plain_weights(model.network, merge=False))
    assert any(bool(p.any()) for name, p in model.network.named_parameters() if "lora_B" in name)


def test_a_checkpoint_holds_adapters_alone_and_resumes_to_the_same_bits(policy: str, tmp_path: Path) -> None:
    whole = fitted(policy, tmp_path / "whole", 4)
    fitted(policy, tmp_path / "half", 2)
    checkpoint = torch.load(tmp_path / "half" / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]
    assert all(is_adapter(name) for name in checkpoint["state_dict"])
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(checkpoint["state_dict"])
    resumed = fitted(policy, tmp_path / "rest", 4, ckpt_path=tmp_path / "half" / "last.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize("lora", [Lora(r=3), Lora(r=2, targets=("q_proj",)), None])
def test_a_checkpoint_of_other_adapters_is_refused(policy: str, tmp_path: Path, lora: Lora | None) -> None:
    fitted(policy, tmp_path, 1)
    model = module(policy, lora=lora)
    with pytest.raises(ValueError, match="does not fit this policy"):
        trainer(tmp_path).fit(model, datamodule=data(), ckpt_path=tmp_path / "last.ckpt")


def test_a_target_that_matches_nothing_is_named_before_the_policy_loads(policy: str, tmp_path: Path) -> None:
    model = module(policy, lora=Lora(targets=("q_proj", "query", "lm_head")))
    with pytest.raises(ValueError, match=r"query, lm_head matches no linear layer .* it has down_proj, gate_proj"):
        trainer(tmp_path).fit(model, datamodule=data())
    assert model.policy is None


def test_fsdp2_refuses_adapters_on_packed_weights(policy: str, tmp_path: Path) -> None:
    model = module(policy, lora=Lora(quantize="nf4"))
    model.trainer = trainer(tmp_path, strategy=FSDP2Strategy(), devices=2)
    with pytest.raises(ValueError, match=r"model\.lora\.quantize keeps weights packed.*-c strategy/ddp"):
        model.holdings(torch.device("cpu"), training=True)


def test_slices_of_layers_are_refused_with_adapters_and_where_heads_do_not_divide(policy: str, tmp_path: Path) -> None:
    for options, complaint in (({"lora": Lora()}, r"model\.lora is none of them"), ({}, "1 key-value heads")):
        model = module(policy, **options)
        model.trainer = trainer(tmp_path, strategy=FSDP2Strategy(tensor_parallel_size=2), devices=2)
        with pytest.raises(ValueError, match=complaint):
            model.holdings(torch.device("cpu"), training=True)
        assert model.policy is None


def test_adapters_in_parts_are_refused_and_in_one_file_they_are_not(policy: str, tmp_path: Path) -> None:
    model = module(policy, lora=Lora())
    for parts in (False, True):
        strategy = FSDP2Strategy(save_distributed_checkpoint=parts)
        model.trainer = trainer(tmp_path, strategy=strategy, devices=2)
        if parts:
            with pytest.raises(ValueError, match="leaves parts of adapters that nothing resumes from"):
                model.holdings(torch.device("cpu"), training=True)
        else:
            assert model.holdings(torch.device("cpu"), training=True)


def test_an_engine_that_takes_no_adapters_is_refused_before_the_policy_loads(policy: str, tmp_path: Path) -> None:
    model = module(policy, lora=Lora(sync="adapter"))
    with pytest.raises(ValueError, match="TransformersEngine takes whole weights only"):
        trainer(tmp_path).fit(model, datamodule=data())
    assert model.policy is None
