"""Credit is checked before it trains anything."""

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Wrong(CreditAssigner):
    """Returns one wrong part."""

    part: str

    def __call__(self, batch: RolloutBatch, *, all_reduce: Reduce = one_rank) -> Credit:
        fine = torch.zeros(batch.input_ids.shape)
        return {
            "clip_scale": Credit(fine, clip_scale=torch.ones(1)),
            "loss_mask": Credit(fine, loss_mask=torch.ones(1, dtype=torch.bool)),
            "component": Credit(fine, components={"x": fine}),
            "nan": Credit(fine * float("nan")),
            "everywhere": Credit(fine + 1),
        }[self.part]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("clip_scale", r"clip_scale of shape \(1, 3\), got \(1,\)"),
        ("loss_mask", r"loss_mask of shape \(1, 3\), got \(1,\)"),
        ("component", r"components\['x'\] of shape \(1, 1\), got \(1, 3\)"),
        ("nan", "advantages with 3 numbers that are NaN or infinite"),
        ("everywhere", "0 off the action mask"),
    ],
)
def test_a_wrong_answer_is_refused_by_part(part: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"Wrong .*{message}"):
        apply_credit(Wrong(part), rollouts([[1]], [1.0]))


def test_what_the_batch_may_not_train_the_assigner_cannot_train() -> None:
    batch = rollouts([[1], [1]], [1.0, 0.0])
    allowed = batch.action_mask & torch.tensor([[True], [False]])
    credited, _ = apply_credit(GRPO(), replace(batch, loss_mask=allowed))
    assert credited.loss_mask is not None
    assert torch.equal(credited.loss_mask, allowed)
