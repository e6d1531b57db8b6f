"""Exactly what was declared is computed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_agentrl.policy import load_config, load_policy
from lightning_agentrl.scoring.signals import COLLATED, SCORED, fill
from lightning_agentrl.testing import rollouts, tiny_policy
from lightning_agentrl.types import RolloutBatch, Signal


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module]:
    folders = [tiny_policy(tmp_path_factory.mktemp("policy"), seed=seed) for seed in (0, 1)]
    first, second = (load_policy(folder, load_config(folder), "float32") for folder in folders)
    return first, second


def batch() -> RolloutBatch:
    made = rollouts([[2, 1], [1]], rewards=[1.0, 0.0])
    probes = torch.ones(2, 1, 2, dtype=torch.int64)
    return replace(made, probe_ids=probes, probe_scored=probes.bool())


def filled(policies: tuple[nn.Module, nn.Module], signals: Signal) -> RolloutBatch:
    policy, reference = policies
    return fill(batch(), signals, policy, lambda: nullcontext(reference), temperature=1.0, max_tokens=1000)


@pytest.mark.parametrize("signal", list(SCORED), ids=lambda signal: signal.name)
def test_a_signal_is_filled_in_alone(policies: tuple[nn.Module, nn.Module], signal: Signal) -> None:
    found = filled(policies, signal)
    assert {name for name in SCORED.field_names if getattr(found, name) is not None} == set(signal.field_names)


def test_the_reference_scores_with_its_own_weights(policies: tuple[nn.Module, nn.Module]) -> None:
    found = filled(policies, Signal.REF_LOGPROBS | Signal.OLD_LOGPROBS)
    swapped = filled((policies[1], policies[0]), Signal.OLD_LOGPROBS)
    torch.testing.assert_close(found.ref_logprobs, swapped.old_logprobs)
    assert not torch.equal(found.ref_logprobs, found.old_logprobs)  # type: ignore[arg-type]


def test_the_reference_is_not_loaded_unless_it_is_needed(policies: tuple[nn.Module, nn.Module]) -> None:
    def reference() -> AbstractContextManager[nn.Module]:
        raise AssertionError("loaded")

    fill(batch(), ~Signal.REF_LOGPROBS & SCORED, policies[0], reference, temperature=1.0, max_tokens=1000)


def test_everything_the_policy_is_asked_comes_from_one_forward(policies: tuple[nn.Module, nn.Module]) -> None:
    filled(policies, Signal.OLD_LOGPROBS)  # the first time, a policy's head is looked at
    shapes: list[torch.Size] = []
    watch = policies[0].base_model.register_forward_hook(lambda module, args, output: shapes.append(output[0].shape))
    filled(policies, SCORED & ~Signal.REF_LOGPROBS)
    watch.remove()
    # Rows 1 2 | 100 100 | 50 50 | 101 and 1 2 | 100; probes 1 1 behind the prompt and the first row's first turn.
    assert [shape[:2] for shape in shapes] == [(1, 7 + 2 + 2)]


def test_scores_carry_no_gradient(policies: tuple[nn.Module, nn.Module]) -> None:
    found = filled(policies, SCORED)
    assert not any(getattr(found, name).requires_grad for name in SCORED.field_names)


def test_every_signal_has_a_source() -> None:
    assert COLLATED | SCORED == ~Signal.NONE
