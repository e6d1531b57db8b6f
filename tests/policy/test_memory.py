"""What a run will hold, computed from an architecture alone, against what really is held."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.policy.lora import is_adapter
from lightning_agentrl.policy.memory import activations, holdings, state_bytes
from lightning_agentrl.strategies import keeps_buckets
from lightning_agentrl.testing import tiny_policy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


def sizes(spec: PolicySpec, **options: Any) -> dict[str, int]:
    settings: dict[str, Any] = {"optimizer": torch.optim.AdamW, "mixed": False, "reference": False, "max_tokens": 100}
    settings |= options
    return {held.what.split(",")[0]: held.size for held in holdings(spec, device=CPU, **settings)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [None, Lora(r=3, targets=("q_proj", "down_proj"))], ids=["full", "lora"])
@pytest.mark.filterwarnings("ignore:model.dtype")
def test_sizes_are_those_of_a_real_policy_after_a_real_step(policy: str, dtype: Any, lora: Lora | None) -> None:
    spec = PolicySpec(policy, dtype, lora)
    found = sizes(spec)
    network = spec.load()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    network(torch.arange(8)[None]).logits.float().sum().backward()
    optimizer.step()
    own = {name: p.nbytes for name, p in network.named_parameters()}
    assert found["weights"] == sum(size for name, size in own.items() if not is_adapter(name))
    if lora is not None:
        assert found["adapters on 4 layers"] == sum(size for name, size in own.items() if is_adapter(name))
    assert found["gradients"] == sum(p.grad.nbytes for p in trained if p.grad is not None)
    moments = sum(state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes for state in optimizer.state.values())
    assert found["optimizer's state"] == pytest.approx(moments, rel=1e-4)  # beside a step counter


def test_a_reference_is_held_by_a_full_run_alone(policy: str) -> None:
    assert sizes(PolicySpec(policy), reference=True)["reference policy"] == sizes(PolicySpec(policy))["weights"]
    assert "reference policy" not in sizes(PolicySpec(policy, lora=Lora()), reference=True)


def test_ranks_hold_a_part_each_and_gather_layers(policy: str) -> None:
    """Of two layers both are gathered, and what lies outside of layers: everything, and gradients of all that."""
    spec = PolicySpec(policy)
    whole, part = sizes(spec), sizes(spec, parts=3)
    assert part.pop("layers gathered from the ranks") == 2 * whole["weights"]
    assert {name: -(-size // 3) for name, size in whole.items() if name != "activations of 100 tokens"} == {
        name: size for name, size in part.items() if name != "activations of 100 tokens"
    }


def test_slices_are_gathered_and_computed_instead_of_whole_layers(tmp_path: Path) -> None:
    spec = PolicySpec(tiny_policy(tmp_path, hidden_size=128))
    whole, sliced = sizes(spec, parts=4), sizes(spec, parts=4, slices=2)
    assert sliced.pop("layers gathered from the ranks") == whole.pop("layers gathered from the ranks") // 2
    one, other = (found.pop("activations of 100 tokens") for found in (whole, sliced))
    assert one / 2 < other < one  # residuals are whole on every member
    assert whole == sliced
    with pytest.raises(ValueError, match="4 attention heads, which 3 ranks"):
        sizes(spec, parts=3, slices=3)


def test_plain_ddp_holds_gradients_twice(policy: str) -> None:
    for strategy, expected in ((DDPStrategy(), True), (DDPStrategy(gradient_as_bucket_view=True), False)):
        found = sizes(PolicySpec(policy), buckets=keeps_buckets(strategy))
        assert found.pop("gradients in DDP's buckets", None) == (found["gradients"] if expected else None)


def test_validation_holds_neither_gradients_nor_optimizer(policy: str) -> None:
    assert list(sizes(PolicySpec(policy), optimizer=None)) == ["weights"]


def test_the_state_of_an_optimizer_is_measured() -> None:
    """AdamW keeps two numbers of 4 bytes, or of 2; plain SGD none, with momentum one."""
    for make, dtype, expected in (
        (torch.optim.AdamW, torch.float32, 8),
        (torch.optim.AdamW, torch.bfloat16, 4),
        (partial(torch.optim.AdamW, fused=True), torch.float32, 8),
        (torch.optim.SGD, torch.float32, 0),
        (partial(torch.optim.SGD, momentum=0.9), torch.float32, 4),
    ):
        assert state_bytes(make, dtype, CPU) == pytest.approx(expected, abs=1e-3)


def test_8_bit_optimizers_are_measured_where_they_are_installed() -> None:
    torchao = pytest.importorskip("torchao.optim")
    bitsandbytes = pytest.importorskip("bitsandbytes.optim")
    for make in (torchao.AdamW8bit, bitsandbytes.AdamW8bit):
        assert 2 <= state_bytes(make, torch.float32, CPU) < 2.2  # two bytes and the scales of blocks


def test_activations_are_estimated_within_a_factor_of_two(policy: str) -> None:
    """Against the distinct tensors that autograd keeps for the backbone's backward, weights left out."""
    network = PolicySpec(policy).load()
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # so that no address is used twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network.model(torch.arange(200)[None] % 300, use_cache=False)
    estimate = 4 * activations(network.config, 200, checkpointed=False)
    assert estimate / 2 <= sum(kept.values()) <= estimate * 2


def test_checkpointing_keeps_a_residual_per_layer_and_one_layer_whole(policy: str) -> None:
    """Width 64, 2 + 1 heads of 32, 128 inside, 2 layers: 4·64 + 2·32·3 + 4·128 = 960 numbers a layer and token."""
    config = PolicySpec(policy).config
    assert activations(config, 100, checkpointed=False) == 100 * 2 * 960
    assert activations(config, 100, checkpointed=True) == 100 * (2 * 64 + 960)


def test_4_bit_weights_without_bitsandbytes_are_refused_with_the_reason(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"nf4 needs bitsandbytes, .*lightning-agentrl\[lowbit\]"):
        sizes(PolicySpec(policy, lora=Lora(quantize="nf4")))


def test_weights_that_are_trained_in_16_bits_are_warned_about(policy: str) -> None:
    with pytest.warns(UserWarning, match=r"a step of less than 0\.2 % of a weight vanishes"):
        PolicySpec(policy, "bfloat16").check(CPU)
