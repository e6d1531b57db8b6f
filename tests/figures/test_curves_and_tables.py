"""Curves and turn tables say what the data says."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from lightning_agentrl.figures.curves import curves
from lightning_agentrl.figures.turn_table import ROOM, turn_table

RUNS = {"well": {"reward": [(1, 0.1), (2, 0.5)], "kl": [(1, 0.0), (2, 1e-3)]}, "sick": {"reward": [(1, 0.3)]}}


def test_a_chart_has_a_line_for_each_run_that_logged_its_number() -> None:
    reward, kl = curves(RUNS, ["reward", "kl"]).axes
    assert [line.get_xydata().tolist() for line in reward.lines] == [[[1, 0.1], [2, 0.5]], [[1, 0.3]]]
    assert [len(line.get_xydata()) for line in kl.lines] == [2, 0]
    assert reward.lines[0].get_color() == kl.lines[0].get_color() != reward.lines[1].get_color()


def test_a_logarithmic_chart_leaves_out_what_has_no_logarithm() -> None:
    (axis,) = curves(RUNS, ["kl"], logarithmic=["kl"]).axes
    assert axis.get_yscale() == "log"
    assert axis.lines[0].get_xydata().tolist() == [[2, 1e-3]]


def test_a_bound_is_drawn_where_it_belongs() -> None:
    reward, kl = curves(RUNS, ["reward", "kl"], bounds={"kl": 0.02}).axes
    assert len(reward.lines) == 2
    assert list(kl.lines[-1].get_ydata()) == [0.02, 0.02]


def test_a_name_that_nobody_logged_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"curve of entropy. There are: kl, reward"):
        curves(RUNS, ["reward", "entropy"])


def test_a_turn_table_shows_every_number_on_the_scale_of_its_column() -> None:
    figure = turn_table(["open", "take $1_"], {"a": [1.0, -4.0], "b": [0.25, float("nan")]}, "title")
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["+1.00", "+0.25", "-4.00"]
    assert axis.images[0].get_array().filled(9).tolist() == [[0.25, 1.0], [-1.0, 9]]
    assert axis.images[0].get_clim() == (-ROOM, ROOM)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1  open", "2  take $1_"]
