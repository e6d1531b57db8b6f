"""Two ranks with unequal shares find the numbers of one that has all."""

from __future__ import annotations

import pytest
import torch
from metric_cases import of_batches, of_trajectories
from metric_ranks import CASES, batches, shares, work
from torchmetrics import MetricCollection


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Numbers of both ranks, by case and metric."""
    folder = tmp_path_factory.mktemp("ranks")
    # This process is one of the two: a new one takes seconds to import torchmetrics.
    other = torch.multiprocessing.get_context("spawn").Process(target=work, args=(1, str(folder)))
    other.start()
    try:
        work(0, str(folder))
    finally:
        other.join(60)
        other.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def alone(make, data):
    """Numbers of each metric of one process that sees the shares of both ranks."""
    metrics = make()
    for metric in metrics:
        for share in data:
            metric.update(share)
    return {type(metric).__name__: metric.compute() for metric in metrics}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("make", "data"), [(of_trajectories, shares), (of_batches, batches)])
def test_ranks_with_unequal_or_empty_shares_find_the_numbers_of_one_process(ranks, case, make, data):
    expected = alone(make, data(case))
    found = {name: ranks[0][f"{case} False {make.__name__} {name}"] for name in expected}
    torch.testing.assert_close(found, expected)
    assert any(expected.values()) != (case == "none")


def test_both_ranks_have_the_same_names_and_bits(ranks):
    first, second = ranks
    assert first.keys() == second.keys()
    for which, numbers in first.items():
        assert list(numbers) == list(second[which]), which
        assert all(torch.equal(numbers[name], second[which][name]) for name in numbers), which


def test_a_rank_knows_the_tools_that_only_the_other_saw(ranks):
    assert {"tool/success_search", "tool/success_python", "tool/error_python_python broke"} < ranks[0][
        "unequal False of_trajectories ToolSuccess"
    ].keys()


def test_ranks_whose_modules_were_cast_find_the_same(ranks):
    for case in CASES:
        for name in (key for key in ranks[0] if key.startswith(f"{case} False")):
            torch.testing.assert_close(ranks[0][name.replace("False", "True")], ranks[0][name])


@pytest.mark.parametrize(("make", "data"), [(of_trajectories, shares), (of_batches, batches)])
def test_a_rank_that_never_had_an_update_does_not_stop_the_other(ranks, make, data):
    for name, expected in alone(make, data("left")).items():
        torch.testing.assert_close(ranks[0][f"silent {make.__name__} {name}"], expected)


def test_a_collection_may_be_read_while_it_grows(ranks):
    collection = MetricCollection(of_trajectories())
    for step, case in enumerate(("left", "right")):
        for share in shares(case):
            collection.update(share)
        torch.testing.assert_close(ranks[1][f"collection {step}"], collection.compute())
