"""Credit is checked before it trains anything."""

from dataclasses import dataclass

import pytest
import torch

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.base import CreditAssigner, Reduce, one_rank
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import Credit, RolloutBatch, Signal


@dataclass(frozen=True)
class Careless(CreditAssigner):
    """Returns one number per row."""

    @property
    def requires(self) -> Signal:
        return Signal.ENTROPIES

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        return Credit(batch.rewards)


def test_a_missing_signal_is_named_before_the_assigner_runs() -> None:
    with pytest.raises(ValueError, match="Careless needs entropies"):
        apply_credit(Careless(), rollouts([[1]], [1.0]))


def test_advantages_of_the_wrong_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"Careless must return advantages of shape \(1, 3\), got \(1,\)"):
        apply_credit(Careless(), rollouts([[1]], [1.0], entropies=[[0.5]]))


def test_credit_is_described_in_numbers() -> None:
    batch = rollouts([[1], [1], [1], [1]], rewards=[1, 0, 1, 1], groups=[0, 0, 1, 1])
    credited, metrics = apply_credit(GRPO(normalize_std=False), batch)
    assert credited.loss_mask is not None
    assert torch.equal(credited.loss_mask, batch.action_mask)
    # Advantages .5, −.5, 0, 0.
    assert metrics["credit/zero_credit_share"] == 0.5
    assert metrics["credit/zero_variance_share"] == 0.5
    assert metrics["credit/advantage_std"] == pytest.approx(0.125**0.5)
