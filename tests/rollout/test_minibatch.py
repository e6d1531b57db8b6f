"""Cutting a collection: counts from the configuration, every row once per pass."""

import random
from dataclasses import replace

import torch

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def collection(rows: int, *, idle: int = 0) -> RolloutBatch:
    batch = rollouts([[1 + row % 5] for row in range(rows)], rewards=[float(row) for row in range(rows)])
    advantages = batch.action_mask.float()
    advantages[:idle] = 0
    return replace(batch, advantages=advantages, loss_mask=batch.action_mask)


def cut_up(batch: RolloutBatch, ppo_epochs: int, minibatches: int, accumulate: int) -> list[list[RolloutBatch]]:
    return cut(batch, ppo_epochs=ppo_epochs, minibatches=minibatches, accumulate=accumulate, rng=random.Random(0))


def test_counts_depend_on_the_configuration_only() -> None:
    for rows in (1, 3, 20):
        steps = cut_up(collection(rows), 2, 3, 4)
        assert [len(step) for step in steps] == [4] * 6


def test_every_row_is_in_one_micro_batch_per_pass() -> None:
    steps = cut_up(collection(11), 2, 2, 2)
    for half in (steps[:2], steps[2:]):
        ids = [i for step in half for micro in step for i in micro.trajectory_ids.tolist()]
        assert sorted(ids) == list(range(11))


def test_a_filler_trains_nothing() -> None:
    micros = [micro for step in cut_up(collection(1), 1, 1, 3) for micro in step]
    trained = [int(micro.loss_mask.sum()) for micro in micros]  # type: ignore[union-attr]
    assert sorted(trained) == [0, 0, 1]


def test_micro_batches_are_balanced_by_tokens_that_carry_credit() -> None:
    batch = rollouts([[40], [10], [10], [10], [10], [40], [40]], rewards=[0.0] * 7)
    advantages = batch.action_mask.float()
    advantages[5:] = 0
    (step,) = cut_up(replace(batch, advantages=advantages, loss_mask=batch.action_mask), 1, 1, 2)
    loads = [int((micro.advantages != 0).sum()) for micro in step]  # type: ignore[union-attr]
    assert loads == [40, 40]


def test_rows_without_credit_cost_their_tokens_where_a_kl_moves_them() -> None:
    batch = rollouts([[40], [10], [10], [10], [10], [40], [40]], rewards=[0.0] * 7)
    advantages = batch.action_mask.float()
    advantages[5:] = 0
    credited = replace(batch, advantages=advantages, loss_mask=batch.action_mask)
    (step,) = cut(credited, ppo_epochs=1, minibatches=1, accumulate=2, rng=random.Random(0), drops_idle=False)
    assert [int(micro.action_mask.sum()) for micro in step] == [80, 80]


def test_rows_that_nothing_trains_are_nearly_free_all_the_same() -> None:
    batch = rollouts([[40], [10], [10], [10], [10], [40]], rewards=[0.0] * 6)
    trained = batch.action_mask.clone()
    trained[5] = False
    credited = replace(batch, advantages=batch.action_mask.float(), loss_mask=trained)
    (step,) = cut(credited, ppo_epochs=1, minibatches=1, accumulate=2, rng=random.Random(0), drops_idle=False)
    assert [int(micro.trainable.sum()) for micro in step] == [40, 40]


def test_passes_differ_in_order_and_repeat_with_the_seed() -> None:
    def members() -> list[list[int]]:
        return [step[0].trajectory_ids.tolist() for step in cut_up(collection(12), 2, 2, 1)]

    assert members() == members()
    assert members()[:2] != members()[2:]


def test_micro_batches_hold_no_common_padding() -> None:
    for step in cut_up(collection(10), 1, 2, 2):
        for micro in step:
            assert micro.attention_mask[:, -1].any()


def test_rows_keep_their_tensors_together() -> None:
    for step in cut_up(collection(10), 1, 2, 2):
        for micro in step:
            torch.testing.assert_close(micro.rewards, micro.trajectory_ids.float())


def test_rows_without_credit_are_spread_over_all_steps() -> None:
    # Half the groups are flat: dealt by cost, their rows would pile up in one step and dilute its average.
    batch = rollouts([[1]] * 32, [1, 0] * 8 + [1, 1] * 8, groups=[row // 2 for row in range(32)])
    credited, _ = apply_credit(GRPO(), batch)
    for seed in range(5):
        steps = cut(credited, ppo_epochs=1, minibatches=8, accumulate=1, rng=random.Random(seed))
        assert {len(micro) for step in steps for micro in step} == {4}


def prompts(*sizes: int) -> RolloutBatch:
    """So many rows of one token for each prompt, mixed up."""
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    random.Random(1).shuffle(groups)
    batch = rollouts([[1]] * len(groups), rewards=[0.0] * len(groups), groups=groups)
    return replace(batch, advantages=batch.action_mask.float(), loss_mask=batch.action_mask)


def test_a_prompts_rows_share_a_micro_batch_where_counts_allow() -> None:
    for seed in range(5):
        steps = cut(prompts(4, 4, 4, 4), ppo_epochs=1, minibatches=2, accumulate=2, rng=random.Random(seed))
        groups = [micro.group_ids.tolist() for step in steps for micro in step]
        assert sorted(groups) == [[group] * 4 for group in range(4)]


def test_steps_stay_equally_long_and_split_a_prompt_rather() -> None:
    # Three prompts of four rows, two steps: six rows each, and the middle prompt in both.
    steps = cut_up(prompts(4, 4, 4), 1, 2, 1)
    groups = [micro.group_ids.tolist() for step in steps for micro in step]
    assert [len(members) for members in groups] == [6, 6]
    assert len(set(groups[0]) & set(groups[1])) == 1


def test_with_fewer_prompts_than_micro_batches_rows_are_spread_one_by_one() -> None:
    (step,) = cut_up(prompts(3, 3), 1, 1, 3)
    assert [len(micro) for micro in step] == [2, 2, 2]


def test_prompts_come_in_random_order_and_so_do_their_rows() -> None:
    orders = {
        tuple(
            cut(prompts(2, 2, 2), ppo_epochs=1, minibatches=6, accumulate=1, rng=random.Random(seed))[0][
                0
            ].trajectory_ids.tolist()
        )
        for seed in range(40)
    }
    assert len(orders) == 6  # any row may be the first


def test_every_micro_batch_has_rows_to_train_though_most_are_silent_branches() -> None:
    """Initial rows first and branches last would leave half of the work to nobody."""
    batch = rollouts([[5]] * 16, rewards=[0.0] * 16, groups=[0, 1, 2, 3] * 4)
    initial = torch.arange(16)[:, None] < 4
    batch = replace(batch, advantages=batch.action_mask * initial * 1.0, loss_mask=batch.action_mask & initial)
    for seed in range(5):
        steps = cut(batch, ppo_epochs=1, minibatches=2, accumulate=2, rng=random.Random(seed))
        assert [int(micro.trainable.any(1).sum()) for step in steps for micro in step] == [1] * 4
