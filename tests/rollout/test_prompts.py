"""The order of prompts: a function of seed and epoch, over all ranks."""

from __future__ import annotations

import pytest

from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.rollout.prompts import PromptOrder
from lightning_agentrl.types import Task

TASKS = [Task(str(number), ()) for number in range(12)]
ALL = [task.id for task in TASKS]


def order(prompts: int = 4, *, tasks: int = 12, seed: int = 3, rank: int = 0, ranks: int = 1) -> PromptOrder:
    return PromptOrder(TASKS[:tasks], prompts, 2, seed, rank, ranks)


def names(jobs: list[Job]) -> list[str]:
    return [job.task.id for job in jobs]


@pytest.mark.parametrize("prompts", [1, 3, 4, 12])
def test_every_prompt_comes_once_per_lap(prompts: int) -> None:
    for lap in range(3):
        epochs = range(lap * 12 // prompts, (lap + 1) * 12 // prompts)
        assert sorted(names([job for epoch in epochs for job in order(prompts).jobs(epoch)])) == sorted(ALL)


def test_laps_go_on_where_an_epoch_ends_inside_one() -> None:
    # Epochs of 5 over 12 tasks: the first two laps are the first 24 of 25 prompts.
    jobs = [job for epoch in range(5) for job in order(5).jobs(epoch)]
    assert sorted(names(jobs[:12])) == sorted(names(jobs[12:24])) == sorted(ALL)


def test_an_epoch_may_be_longer_than_a_lap() -> None:
    jobs = order(8, tasks=4).jobs(0)
    assert sorted(names(jobs[:4])) == sorted(names(jobs[4:])) == ["0", "1", "2", "3"]


def test_laps_differ_in_order() -> None:
    assert names(order(12).jobs(0)) != names(order(12).jobs(1))


def test_seeds_differ_in_order() -> None:
    assert names(order(12, seed=3).jobs(0)) != names(order(12, seed=4).jobs(0))


def test_a_resumed_run_keeps_the_order() -> None:
    # A new object that is asked for epoch 7 first, and one that has given all the epochs before.
    going = order()
    for epoch in range(7):
        assert going.jobs(epoch)
        assert list(going.more(epoch))
    assert order().jobs(7) == going.jobs(7)
    assert list(order().more(7)) == list(going.more(7))


def test_every_job_asks_for_a_whole_group() -> None:
    assert {job.samples for job in [*order().jobs(0), *order().more(0)]} == {2}


@pytest.mark.parametrize("epoch", [0, 1, 2, 5])
def test_more_gives_every_task_that_the_epoch_has_not_and_none_twice(epoch: int) -> None:
    # Epochs of 5 over 12 tasks also cross from one lap into the next.
    first, more = names(order(5).jobs(epoch)), names(list(order(5).more(epoch)))
    assert len(more) == len(set(more))
    assert set(more) == set(ALL) - set(first)


def test_more_is_shuffled_anew_in_every_epoch() -> None:
    # With one prompt per epoch the same 11 or 10 tasks remain in different orders.
    first, second = (names(list(order(1).more(epoch))) for epoch in (0, 1))
    common = set(first) & set(second)
    assert [name for name in first if name in common] != [name for name in second if name in common]


def test_more_is_empty_when_the_epoch_has_every_task() -> None:
    assert list(order(12).more(0)) == []


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_are_disjoint_and_give_together_what_one_gives(ranks: int) -> None:
    shares = [order(rank=rank, ranks=ranks).jobs(3) for rank in range(ranks)]
    assert {len(share) for share in shares} == {4 // ranks}
    together = sorted((job for share in shares for job in share), key=lambda job: job.group)
    assert together == order().jobs(3)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_further_prompts_too(ranks: int) -> None:
    shares = [list(order(rank=rank, ranks=ranks).more(3)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {8 // ranks}
    together = sorted((job for share in shares for job in share), key=lambda job: job.group)
    assert together == list(order().more(3))


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_group_numbers_are_unique_in_an_epoch_over_all_ranks(epoch: int) -> None:
    shares = [order(rank=rank, ranks=2) for rank in range(2)]
    numbers = [job.group for share in shares for job in [*share.jobs(epoch), *share.more(epoch)]]
    assert len(set(numbers)) == len(numbers) == 12


def test_prompts_are_numbered_through_the_run() -> None:
    assert [job.group for epoch in range(3) for job in order().jobs(epoch)] == list(range(12))


def test_a_task_that_comes_again_in_an_epoch_goes_on_counting_its_samples() -> None:
    # 12 tasks, 30 prompts, groups of 2: every occurrence has samples of its own, hence seeds of its own.
    jobs = order(30).jobs(0)
    for name in ALL:
        first = [job.first_sample for job in jobs if job.task.id == name]
        assert first == [2 * number for number in range(len(first))]
    assert {job.first_sample for job in jobs} == {0, 2, 4}
