"""GRPO against a pencil (reference values: verl and TRL on the same rewards)."""

import pytest
import torch

from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def credit_of_rows(assigner: GRPO, batch: RolloutBatch) -> torch.Tensor:
    """The single value that each row's action tokens share."""
    advantages = assigner(batch).advantages
    return torch.stack(
        [row[mask].unique(sorted=True)[0] for row, mask in zip(advantages, batch.action_mask, strict=True)]
    )


@pytest.mark.parametrize(
    ("assigner", "expected"),
    [
        # Mean 5; squared deviations 4·25 = 100; sample std sqrt(100/3) = 5.773503; ±5/5.773503 = ±0.866025.
        (GRPO(), 0.866025),
        # ±5/(5.773503 + 1e-4) = ±0.866010.
        (GRPO(eps=1e-4), 0.866010),
        # Population std sqrt(100/4) = 5; ±5/5 = ±1.
        (GRPO(ddof=0), 1.0),
        (GRPO(normalize_std=False), 5.0),
    ],
)
def test_advantages_of_one_group(assigner: GRPO, expected: float) -> None:
    batch = rollouts([[2], [1], [3], [2]], rewards=[10, 0, 0, 10])
    torch.testing.assert_close(
        credit_of_rows(assigner, batch), torch.tensor([1.0, -1.0, -1.0, 1.0]) * expected, atol=2e-6, rtol=0
    )


def test_equal_rewards_earn_exactly_nothing() -> None:
    # 0.1 is not a binary fraction: the mean of three differs from it in the last bit, and eps is far below that.
    batch = rollouts([[2], [2], [2]], rewards=[0.1, 0.1, 0.1])
    assert not GRPO(eps=0.0)(batch).advantages.any()


def test_a_lone_rollout_earns_nothing() -> None:
    assert not GRPO()(rollouts([[2]], rewards=[10])).advantages.any()


def test_groups_are_compared_with_themselves_only() -> None:
    batch = rollouts([[1], [1], [1], [1]], rewards=[1, 0, 100, 98], groups=[0, 0, 1, 1])
    torch.testing.assert_close(credit_of_rows(GRPO(normalize_std=False), batch), torch.tensor([0.5, -0.5, 1.0, -1.0]))


def test_every_turn_of_a_row_earns_the_same_and_components_say_so() -> None:
    batch = rollouts([[2, 3], [1]], rewards=[1, 0])
    credit = GRPO(normalize_std=False)(batch)
    # prompt 2, turn of 2, observation 2, turn of 3
    assert credit.advantages[0].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0.5, 0.5, 0.5]
    assert credit.components["outcome"].tolist() == [[0.5, 0.5], [-0.5, 0.0]]


@pytest.mark.parametrize("options", [{"ddof": 2}, {"eps": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        GRPO(**options)  # type: ignore[arg-type]
