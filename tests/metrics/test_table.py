"""What all metrics have in common."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from metric_cases import credited, many, of_batches, of_trajectories
from torch.nn import ModuleList
from torchmetrics import MetricCollection

from lightning_agentrl.metrics.table import Table
from lightning_agentrl.types import RolloutBatch

NOTHING = credited(0, 2).select(torch.tensor([], dtype=torch.int64))
CASES = [
    *((metric, many(0, 3), many(1, 2, ["python"]), []) for metric in of_trajectories()),
    *((metric, credited(0, 5), credited(1, 3), NOTHING) for metric in of_batches()),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{type(case[0]).__name__}-{type(case[1]).__name__}")
def case(request):
    """A new metric, rollouts for two updates, and no rollouts."""
    metric, *rollouts = request.param
    return copy.deepcopy(metric), *rollouts


def test_an_update_without_rollouts_gives_no_number_and_no_warning(case):
    metric, _, _, nothing = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(nothing)
        assert metric.compute() == {}


def test_an_update_without_rollouts_changes_nothing(case):
    metric, first, _, nothing = case
    metric.update(first)
    before = metric.compute()
    metric.update(nothing)
    assert before
    assert metric.compute() == before


def test_measuring_says_nothing_on_the_side(case, capsys):
    metric, first, second, _ = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(first)
        metric(second)
        metric.compute()
        metric.reset()
    assert capsys.readouterr() == ("", "")


def test_numbers_are_scalars_of_one_section(case):
    metric, first, _, _ = case
    metric.update(first)
    for name, value in metric.compute().items():
        assert name.startswith(f"{metric.section}/")
        assert (value.shape, value.dtype, value.device) == ((), torch.float32, metric.device)
        assert value.isfinite()


def test_reset_forgets(case):
    metric, first, second, _ = case
    metric.update(second)
    expected = metric.compute()
    metric.reset()
    metric.update(first)
    metric.reset()
    metric.update(second)
    torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=0)


def test_merged_tables_are_one(case):
    metric, first, second, _ = case
    other, whole = metric.clone(), metric.clone()
    metric.update(first)
    other.update(second)
    metric.merge_state(other)
    whole.update(first)
    whole.update(second)
    torch.testing.assert_close(metric.compute(), whole.compute())


def test_calling_it_measures_a_batch_and_adds_it(case):
    metric, first, second, _ = case
    part, whole = metric.clone(), metric.clone()
    metric.update(first)
    part.update(second)
    torch.testing.assert_close(metric(second), part.compute())
    whole.update(first)
    whole.update(second)
    torch.testing.assert_close(metric.compute(), whole.compute())


def test_a_pickled_table_goes_on(case):
    metric, first, second, _ = case
    metric.update(first)
    restored = pickle.loads(pickle.dumps(metric))
    for table in (metric, restored):
        table.update(second)
    torch.testing.assert_close(restored.compute(), metric.compute(), rtol=0, atol=0)


def test_a_cast_of_the_module_that_holds_it_costs_no_precision(case):
    metric, first, _, _ = case
    cast = metric.clone()
    ModuleList([cast]).to(torch.bfloat16)
    for table in (metric, cast):
        table.update(first)
    torch.testing.assert_close(cast.compute(), metric.compute(), rtol=0, atol=0)


def test_columns_live_where_the_metric_does(case):
    metric, first, _, _ = case
    metric.to("meta").update(first)
    states = [row for rows in metric.metric_state.values() for row in rows]
    assert states
    assert {row.device.type for row in states} == {"meta"}


@pytest.mark.gpu
def test_a_table_on_a_gpu_says_the_same(case):
    metric, first, _, _ = case
    there = metric.clone().to("cuda")
    for table in (metric, there):
        table.update(first.to("cuda") if isinstance(first, RolloutBatch) and table is there else first)
    found = there.compute()
    assert {value.device.type for value in found.values()} == {"cuda"}
    torch.testing.assert_close({name: value.cpu() for name, value in found.items()}, metric.compute())


def test_tables_of_equal_columns_are_filled_alike():
    """A collection of torchmetrics lets metrics with equal states share one."""
    for make, rollouts in ((of_trajectories, many(0, 3)), (of_batches, credited(0, 5))):
        metrics = make()
        for metric in metrics:
            metric.update(rollouts)
        for a in metrics:
            for b in metrics:
                if a.columns.keys() == b.columns.keys():
                    for name in a.columns:
                        torch.testing.assert_close(a.column(name), b.column(name), equal_nan=True)


def test_a_collection_finds_the_numbers_of_its_metrics():
    collection = MetricCollection(of_trajectories())
    expected = {}
    for rollouts in (many(0, 3), many(1, 2, ["python"], first=3)):
        collection.update(rollouts)
    for metric in of_trajectories():
        for rollouts in (many(0, 3), many(1, 2, ["python"], first=3)):
            metric.update(rollouts)
        expected |= metric.compute()
    assert len(collection.compute_groups) < len(collection)  # PassAtK and PassHatK share a table
    torch.testing.assert_close(collection.compute(), expected)


def test_what_has_no_number_has_no_name():
    class Half(Table):
        columns = {"rows": torch.float32}  # noqa: RUF012

        def update(self, rows: list[float]) -> None:
            self.add_rows(rows=rows)

        def numbers(self) -> dict[str, torch.Tensor]:
            return {"mean": self.column("rows").mean(), "nothing": torch.tensor(torch.nan)}

    metric = Half("here")
    metric.update([1.0, 2.0])
    assert metric.compute() == {"here/mean": 1.5}
