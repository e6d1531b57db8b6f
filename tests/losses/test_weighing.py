"""Token weights of an optimizer step: what counts in the denominators, and which rows are worth a forward."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_agentrl.losses.base import Aggregation
from lightning_agentrl.losses.weighing import weigh
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

MODES = pytest.mark.parametrize("mode", ["token-mean", "sequence-mean", "constant"])


def collection(sizes: Sequence[int], *, masked: Sequence[int] = (), without_credit: Sequence[int] = ()) -> RolloutBatch:
    """Rows of so many tokens and advantage 1; some out of the loss mask, some with advantage 0."""
    made = rollouts([[size] for size in sizes], rewards=[0.0] * len(sizes))
    advantages, mask = made.action_mask.float(), made.action_mask.clone()
    advantages[list(without_credit)] = 0
    mask[list(masked)] = False
    return replace(made, advantages=advantages, loss_mask=mask)


def one_rank(counts: Tensor) -> Tensor:
    return counts


def row_weights(
    steps: Sequence[Sequence[RolloutBatch]], mode: Aggregation, *, ranks: int = 1, **options: object
) -> list[dict[int, list[float]]]:
    """Of each step: the weights of each row's trained tokens, by trajectory; a row that was left out is missing."""
    constant = 10.0 if mode == "constant" else None
    weighed = weigh(steps, mode, constant, lambda counts: counts * ranks, **options)  # type: ignore[arg-type]
    return [
        {
            int(row): weights[mask].tolist()
            for micro in step
            for row, weights, mask in zip(micro.trajectory_ids, micro.loss_weights, micro.trainable, strict=True)
        }
        for step in weighed
    ]


def micros(batch: RolloutBatch, *parts: list[int]) -> list[RolloutBatch]:
    return [batch.select(torch.tensor(rows)).trim() for rows in parts]


def test_the_weights_of_a_token_mean_sum_to_one_over_the_step() -> None:
    # 1 / (4 + 2 + 3) each, in whichever micro-batch.
    (step,) = row_weights([micros(collection([4, 2, 3]), [0], [1, 2])], "token-mean")
    assert step == {0: pytest.approx([1 / 9] * 4), 1: pytest.approx([1 / 9] * 2), 2: pytest.approx([1 / 9] * 3)}


def test_a_sequence_mean_shares_a_row_among_its_tokens() -> None:
    (step,) = row_weights([micros(collection([4, 2, 3]), [0], [1, 2])], "sequence-mean")
    assert step == {0: pytest.approx([1 / 12] * 4), 1: pytest.approx([1 / 6] * 2), 2: pytest.approx([1 / 9] * 3)}


def test_a_constant_divides_every_token_alike() -> None:
    # 1 / 10 of a token, averaged over 3 rows.
    (step,) = row_weights([micros(collection([4, 2, 3]), [0], [1, 2])], "constant")
    assert step == {0: pytest.approx([1 / 30] * 4), 1: pytest.approx([1 / 30] * 2), 2: pytest.approx([1 / 30] * 3)}


@MODES
def test_the_cut_into_micro_batches_never_changes_a_weight(mode: Aggregation) -> None:
    batch = collection([4, 2, 3, 1])
    assert row_weights([micros(batch, [0, 1, 2, 3])], mode) == row_weights([micros(batch, [3], [0, 2], [1])], mode)


@MODES
def test_each_step_has_its_own_denominators(mode: Aggregation) -> None:
    batch = collection([4, 2, 3])
    first, second = row_weights([micros(batch, [0, 1]), micros(batch, [2])], mode)
    assert [first] == row_weights([micros(batch, [0, 1])], mode)
    assert [second] == row_weights([micros(batch, [2])], mode)


@MODES
def test_a_row_out_of_the_loss_mask_never_counts(mode: Aggregation) -> None:
    steps = [micros(collection([4, 2, 3], masked=[1]), [0, 1], [2])]
    assert row_weights(steps, mode) == row_weights([micros(collection([4, 2, 3]), [0], [2])], mode)


@MODES
def test_a_row_without_credit_counts(mode: Aggregation) -> None:
    # It teaches nothing, but it is part of the mean.
    (step,) = row_weights([micros(collection([4, 2, 3], without_credit=[1]), [0, 1], [2])], mode)
    (whole,) = row_weights([micros(collection([4, 2, 3]), [0, 1], [2])], mode)
    assert step == {row: weights for row, weights in whole.items() if row != 1}


def test_tokens_out_of_the_loss_mask_weigh_nothing() -> None:
    batch = collection([4, 2])
    assert batch.loss_mask is not None
    batch.loss_mask[0, 2] = False  # the first action token stands behind the prompt of two
    ((micro,),) = weigh([[batch]], "token-mean", None, one_rank)
    assert micro.loss_weights is not None
    torch.testing.assert_close(micro.loss_weights, batch.loss_mask / 5)


@pytest.mark.parametrize("mode", ["sequence-mean", "constant"])
def test_the_divisor_all_counts_untrained_rows(mode: Aggregation) -> None:
    batch = collection([4, 2, 3], masked=[1])
    (trained,) = row_weights([[batch]], mode)
    (everyone,) = row_weights([[batch]], mode, divisor="all")
    # Two of three rows are trained: 1 / 3 instead of 1 / 2 each.
    assert everyone == {row: pytest.approx([weight * 2 / 3 for weight in weights]) for row, weights in trained.items()}


def test_the_divisor_all_does_not_count_fillers() -> None:
    # Two rows in four micro-batches: two of them are fillers. Each row weighs 1 / 2.
    steps = cut(collection([4, 2]), ppo_epochs=1, minibatches=1, accumulate=4, rng=random.Random(0))
    (step,) = row_weights(steps, "sequence-mean", divisor="all")
    assert {row: sum(weights) for row, weights in step.items()} == {0: 0.5, 1: 0.5, -1: 0}


def test_counts_are_summed_over_ranks() -> None:
    batch = collection([4, 2])
    (alone,) = row_weights([[batch]], "token-mean")
    (beside,) = row_weights([[batch]], "token-mean", ranks=2)
    assert beside == {row: [weight / 2 for weight in weights] for row, weights in alone.items()}


def test_ranks_talk_once_however_many_steps_there_are() -> None:
    asked: list[Tensor] = []

    def all_sum(counts: Tensor) -> Tensor:
        asked.append(counts)
        return counts

    batch = collection([4, 2, 3], masked=[1])
    weigh([micros(batch, [0]), micros(batch, [1, 2])], "token-mean", None, all_sum)
    assert [counts.tolist() for counts in asked] == [[[4, 1], [3, 1]]]


def test_rows_without_credit_are_left_out() -> None:
    (step,) = row_weights([[collection([4, 2, 3], without_credit=[0, 2])]], "token-mean")
    assert list(step) == [1]


def test_rows_without_credit_stay_where_another_term_moves_them() -> None:
    batch = collection([4, 2, 3], masked=[1], without_credit=[0])
    (step,) = row_weights([[batch]], "token-mean", drop_idle=False)
    assert list(step) == [0, 2]  # and what may not be trained goes


def test_credit_off_the_loss_mask_does_not_keep_a_row() -> None:
    (step,) = row_weights([[collection([4, 2], masked=[0])]], "token-mean")
    assert list(step) == [1]


@pytest.mark.parametrize("drop_idle", [True, False])
def test_one_row_of_a_micro_batch_always_stays_and_trains_nothing(drop_idle: bool) -> None:
    ((micro,),) = weigh([[collection([4, 2], masked=[0, 1])]], "token-mean", None, one_rank, drop_idle=drop_idle)
    assert len(micro) == 1
    assert micro.loss_weights is not None
    assert not micro.loss_weights.any()


def test_what_stays_has_no_common_padding() -> None:
    ((micro,),) = weigh([[collection([9, 2], without_credit=[0])]], "token-mean", None, one_rank)
    assert micro.input_ids.shape[1] == 2 + 2  # the prompt of two and two action tokens
