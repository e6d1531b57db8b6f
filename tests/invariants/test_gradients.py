"""The gradient of an optimizer step does not depend on how its rows are cut."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.losses.base import Aggregation, PolicyLoss
from lightning_agentrl.losses.cispo import CISPOLoss
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.correction import ImportanceCorrection
from lightning_agentrl.losses.future_kl import FutureKLLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.testing import rollouts, tiny_policy
from lightning_agentrl.types import RolloutBatch, Signal


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


def collection() -> RolloutBatch:
    turns = [[3, 2], [1], [4, 1, 2], [2], [5], [1, 1], [2, 6], [3]]
    batch = rollouts(turns, rewards=[1, 0, 0.5, 0.2, 1, 1, 1, 1], groups=[0, 0, 0, 0, 1, 1, 2, 2], prompt=4)
    ids = torch.randint(0, 300, batch.input_ids.shape, generator=torch.Generator().manual_seed(1))
    return replace(batch, input_ids=ids)


def learner(
    policy: str, aggregation: Aggregation, accumulate: int, ranks: int = 1, loss: PolicyLoss | None = None, **more: Any
) -> AgentRLModule:
    module = AgentRLModule(
        policy,
        GRPO(),
        loss or ClippedLoss(ratio="turn"),
        **more,
        aggregation=aggregation,
        aggregation_constant=7.0 if aggregation == "constant" else None,
    )
    module.configure_model()
    # The three things of a Trainer that the step reads.
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=accumulate,
        world_size=ranks,
        strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: tensor),
        precision_plugin=SimpleNamespace(forward_context=torch.no_grad),
    )
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def gradient(module: AgentRLModule, steps: list[list[RolloutBatch]]) -> Tensor:
    """What Lightning accumulates over one step: each micro-batch's loss divided by their number."""
    (step,) = steps
    for number, micro in enumerate(step):
        (module.training_step(micro, number) / len(step)).backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def drifted(batch: RolloutBatch) -> RolloutBatch:
    """With sampler and reference some tenths of a nat away from the policy."""
    generator = torch.Generator().manual_seed(2)
    noise = [0.3 * torch.randn(batch.input_ids.shape, generator=generator) * batch.action_mask for _ in range(2)]
    return replace(batch, sampling_logprobs=noise[0] - 5.7, ref_logprobs=noise[1] - 5.7)


def cut_and_weigh(module: AgentRLModule, batch: RolloutBatch, accumulate: int, seed: int = 0, kl: bool = False) -> Any:
    scored = module.assign(module.score(batch, Signal.OLD_LOGPROBS))
    if kl:  # an old policy that is not the present one, so that ratios are not 1
        scored = replace(scored, old_logprobs=scored.old_logprobs + 0.1 * scored.action_mask)  # type: ignore[operator]
    steps = cut(scored, ppo_epochs=1, minibatches=1, accumulate=accumulate, rng=random.Random(seed))
    return module.weigh(steps, longest=7)


@pytest.mark.parametrize("aggregation", ["token-mean", "sequence-mean", "constant"])
@pytest.mark.parametrize("accumulate", [2, 4, 8, 11])
def test_micro_batches_times_accumulation(policy: str, aggregation: Aggregation, accumulate: int) -> None:
    whole = learner(policy, aggregation, 1)
    split = learner(policy, aggregation, accumulate)
    expected = gradient(whole, cut_and_weigh(whole, collection(), 1))
    found = gradient(split, cut_and_weigh(split, collection(), accumulate, seed=5))
    assert expected.norm() > 0
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(
    "loss", [CISPOLoss(), FutureKLLoss(positions="trained"), ClippedLoss(ratio="sequence")], ids=repr
)
def test_micro_batches_with_a_kl_and_a_correction(policy: str, loss: PolicyLoss) -> None:
    terms: dict[str, Any] = {
        "loss": loss,
        "kl_coefficient": 0.5,
        "kl_estimator": "k3+",
        "correction": ImportanceCorrection(level="turn"),
        "aggregation_rows": "all",
    }
    whole, split = (learner(policy, "sequence-mean", accumulate, **terms) for accumulate in (1, 11))
    expected = gradient(whole, cut_and_weigh(whole, drifted(collection()), 1, kl=True))
    found = gradient(split, cut_and_weigh(split, drifted(collection()), 11, seed=5, kl=True))
    assert expected.norm() > 0
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_rows_without_credit_are_still_moved_by_a_kl(policy: str) -> None:
    module = learner(policy, "token-mean", 1, kl_coefficient=1.0, kl_estimator="k2")
    flat = drifted(replace(collection(), rewards=torch.ones(8)))
    ((whole,),) = steps = cut_and_weigh(module, flat, 1, kl=True)
    assert len(whole) == 8
    assert gradient(module, steps).norm() > 0


def test_leaving_out_rows_without_credit_changes_nothing(policy: str) -> None:
    module = learner(policy, "token-mean", 1)
    ((lean,),) = cut_and_weigh(module, collection(), 1)
    assert len(lean) == 4  # groups 1 and 2 have equal rewards
    batch = module.assign(module.score(collection(), Signal.OLD_LOGPROBS))
    assert batch.loss_mask is not None
    full = replace(batch, loss_weights=batch.loss_mask / batch.loss_mask.sum())
    reference = learner(policy, "token-mean", 1)
    expected = gradient(reference, [[full]])
    assert (gradient(module, [[lean]]) - expected).norm() <= 1e-5 * expected.norm()


def test_weights_sum_to_one_over_a_step(policy: str) -> None:
    module = learner(policy, "token-mean", 3)
    batch = collection()
    varied = replace(batch, rewards=torch.arange(8.0))  # every row carries credit
    (step,) = cut_and_weigh(module, varied, 3)
    total = sum(float(micro.loss_weights.sum()) for micro in step)
    assert total == pytest.approx(1.0, abs=1e-6)


def test_a_collection_without_credit_has_a_zero_gradient(policy: str, tmp_path: Path) -> None:
    module = learner(policy, "token-mean", 2)
    flat = replace(collection(), rewards=torch.ones(8))
    assert not gradient(module, cut_and_weigh(module, flat, 2)).any()
