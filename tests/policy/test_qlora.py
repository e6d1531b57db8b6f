"""4-bit weights under adapters; bitsandbytes computes with them on a CPU too, slowly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adapters import moved
from transformers import AutoModelForCausalLM

from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.policy.export import export
from lightning_agentrl.policy.lora import adapters_off, is_adapter, plain_weights
from lightning_agentrl.policy.memory import holdings
from lightning_agentrl.testing import tiny_policy

pytest.importorskip("bitsandbytes")

IDS = torch.arange(24).reshape(2, 12)
SPECS = pytest.mark.parametrize("targets", [None, ("q_proj",)], ids=["all", "one"])


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


@SPECS
def test_merged_weights_are_those_that_the_policy_computes_with(policy: str, targets: tuple[str, ...] | None) -> None:
    network = moved(PolicySpec(policy, lora=Lora(quantize="nf4", targets=targets)))
    plain = AutoModelForCausalLM.from_pretrained(policy)
    before = plain(IDS).logits
    plain.load_state_dict(dict(plain_weights(network)))
    torch.testing.assert_close(plain(IDS).logits, network(IDS).logits, atol=1e-4, rtol=1e-4)  # another kernel
    plain.load_state_dict(dict(plain_weights(network, merge=False)))
    with adapters_off(network):
        base = network(IDS).logits
    torch.testing.assert_close(plain(IDS).logits, base, atol=1e-4, rtol=1e-4)
    assert (base - before).abs().max() > 1e-3  # 4 bits are not nothing


def test_adapters_alone_are_trained_and_4_bit_weights_stay(policy: str) -> None:
    network = PolicySpec(policy, lora=Lora(quantize="nf4"), gradient_checkpointing=True).load()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    network(IDS).logits.sum().backward()
    optimizer.step()
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("lora_B" in name for name in changed)  # A's gradient is zero while B is


@SPECS
def test_an_export_is_what_was_trained(policy: str, tmp_path: Path, targets: tuple[str, ...] | None) -> None:
    spec = PolicySpec(policy, lora=Lora(quantize="nf4", targets=targets))
    network = moved(spec)
    state = spec.trained({f"policy.{name}": tensor for name, tensor in network.state_dict().items()})
    torch.save({"state_dict": state, "agentrl": spec.description}, tmp_path / "x.ckpt")
    export(tmp_path / "x.ckpt", tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(found(IDS).logits, network(IDS).logits, atol=1e-4, rtol=1e-4)  # another kernel


def test_a_run_without_cuda_is_refused_with_the_reason(policy: str) -> None:
    with pytest.raises(ValueError, match="needs a CUDA device, and this run is on cpu"):
        PolicySpec(policy, lora=Lora(quantize="nf4")).check(torch.device("cpu"))


def test_scores_are_those_of_the_update_on_long_rows_too(policy: str) -> None:
    network, plain = moved(PolicySpec(policy, lora=Lora(quantize="nf4"))), AutoModelForCausalLM.from_pretrained(policy)
    plain.load_state_dict(dict(plain_weights(network)))
    rows = torch.arange(240).reshape(2, 120)
    torch.testing.assert_close(plain(rows).logits, network(rows).logits, atol=1e-4, rtol=1e-4)  # another kernel


def test_the_size_of_4_bit_weights_is_known_beforehand(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = PolicySpec(policy, lora=Lora(quantize="nf4"))
    monkeypatch.setattr(PolicySpec, "check", lambda self, device: None)  # of a machine with CUDA
    held = holdings(spec, None, torch.device("cpu"), mixed=False, reference=False, max_tokens=1)
    real = sum(
        tensor.nbytes
        for name, tensor in spec.load().state_dict().items()
        if not is_adapter(name) and "quant" not in name and "nested" not in name
    )  # tables of a layer, the same for any size, left out
    assert held[0].size == pytest.approx(real, rel=0.02)
