"""The guards around an engine that lives in the trainer's process."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
import torch.distributed as dist

from lightning_agentrl.engines.host_guard import (
    PrivateRandomness,
    environment_kept,
    process_group_kept,
    process_group_lent,
    random_state_kept,
    torch_settings_kept,
)


def test_random_states_come_back():
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    with random_state_kept():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_the_environment_comes_back(monkeypatch):
    monkeypatch.setenv("CHANGED", "old")
    monkeypatch.setenv("REMOVED", "old")
    before = dict(os.environ)
    with environment_kept():
        os.environ.update(CHANGED="new", ADDED="new")
        del os.environ["REMOVED"]
    assert dict(os.environ) == before


def test_torch_settings_come_back():
    before = (torch.set_num_threads, torch.get_num_threads(), torch.get_float32_matmul_precision())
    with torch_settings_kept():
        torch.set_num_threads(before[1] + 1)
        torch.set_num_threads = lambda threads: None
        torch.set_float32_matmul_precision("medium")
    assert (torch.set_num_threads, torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_a_lent_process_group_is_there_inside_and_gone_afterwards():
    with process_group_lent():
        assert dist.get_world_size() == 1
    assert not dist.is_initialized()


def test_the_hosts_process_group_survives_a_guest_that_destroys_it():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with process_group_lent(), process_group_kept():
            dist.destroy_process_group()
        value = torch.ones(1)
        dist.all_reduce(value)
        assert value.item() == 1
    finally:
        dist.destroy_process_group()


def test_private_randomness_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with PrivateRandomness():
        torch.randint(0, 10, (3,))
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_private_randomness_respects_a_generator_that_is_given():
    with PrivateRandomness():
        draws = [torch.rand(3, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*draws)


def test_private_randomness_can_be_limited_to_a_module():
    class Draw(torch.nn.Module):
        def forward(self) -> torch.Tensor:
            return torch.rand(1)

    module = Draw()
    PrivateRandomness().around(module)
    before = torch.get_rng_state()
    module()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert not torch.equal(torch.get_rng_state(), before)
