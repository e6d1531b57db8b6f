"""LoRA on a tiny policy: who is trained, what an engine gets, and the policy without adapters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from adapters import moved
from torch import Tensor
from transformers import AutoModelForCausalLM

from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.policy.lora import adapters_off, is_adapter, plain_weights
from lightning_agentrl.testing import tiny_policy

IDS = torch.arange(24).reshape(2, 12)


@pytest.fixture(scope="module", params=[False, True], ids=["two heads", "tied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"), tied=request.param)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


def bits(state: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state}


def test_adapters_start_as_nothing_and_alone_are_trained(folder: str) -> None:
    base, network = PolicySpec(folder).load(), PolicySpec(folder, lora=Lora()).load()
    assert torch.equal(network(IDS).logits, base(IDS).logits)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 7 * 2  # A and B of seven layers in two blocks
    assert all(is_adapter(name) for name in trained)


def test_merged_weights_give_the_logits_of_the_adapters(folder: str) -> None:
    network = moved(PolicySpec(folder, lora=Lora(r=3, targets=("q_proj", "down_proj"))))
    plain = AutoModelForCausalLM.from_pretrained(folder)
    before = plain(IDS).logits
    plain.load_state_dict(dict(plain_weights(network)))
    torch.testing.assert_close(plain(IDS).logits, network(IDS).logits)
    assert (plain(IDS).logits - before).abs().max() > 0.1


def test_a_sync_leaves_every_bit_of_the_policy_and_names_what_an_engine_knows(folder: str) -> None:
    network = moved(PolicySpec(folder, lora=Lora(), dtype="bfloat16"))
    before = bits(network.state_dict().items())
    first, second = bits(plain_weights(network)), bits(plain_weights(network))
    assert first.keys() == AutoModelForCausalLM.from_pretrained(folder).state_dict().keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(base[name], tensor) for name, tensor in plain_weights(network, merge=False))


def test_adapters_stay_in_float32_on_16_bit_weights(policy: str) -> None:
    network = PolicySpec(policy, dtype="bfloat16", lora=Lora()).load()
    kinds = {parameter.dtype for name, parameter in network.named_parameters() if is_adapter(name)}
    assert kinds == {torch.float32}
    assert network.model.embed_tokens.weight.dtype == torch.bfloat16


def test_without_its_adapters_it_is_the_base_and_gets_them_back(folder: str) -> None:
    network = moved(PolicySpec(folder, lora=Lora()))
    with_them = network(IDS).logits
    with adapters_off(network):
        assert torch.equal(network(IDS).logits, PolicySpec(folder).load()(IDS).logits)
    assert torch.equal(network(IDS).logits, with_them)
    assert all(parameter.requires_grad for name, parameter in network.named_parameters() if is_adapter(name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "at least 1"),
        ({"dropout": 0.1}, "dropout must be 0"),
        ({"targets": ()}, "targets is empty"),
    ],
)
def test_impossible_adapters_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lora(**options)
