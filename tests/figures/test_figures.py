"""Figures say what the data says: order, colours around zero, what is left out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from pathlib import Path

from matplotlib.colors import to_rgb

from lightning_agentrl.figures.branch_tree import Limb, branch_tree
from lightning_agentrl.figures.canvas import limit, save, short
from lightning_agentrl.figures.groups import reward_groups
from lightning_agentrl.figures.heat_map import turn_heat_map
from lightning_agentrl.figures.token_strip import COLUMNS, MOST_LINES, Strip, token_strips

NAN = float("nan")


def test_rollouts_of_a_prompt_stand_together_best_first() -> None:
    credit = np.asarray([[1.0], [2.0], [3.0], [4.0]])
    figure = turn_heat_map({"a": credit}, groups=[1, 0, 1, 0], rewards=[0.0, 0.5, 1.0, 0.75])
    drawn = figure.axes[0].images[0].get_array()
    # Prompt 0: rows 3 (0.75) and 1 (0.5); prompt 1: rows 2 (1.0) and 0 (0.0).
    assert drawn[:, 0].tolist() == [4.0, 2.0, 3.0, 1.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0.75", "0.50", "1.00", "0.00"]


def test_colours_are_symmetric_around_zero_in_each_panel() -> None:
    figure = turn_heat_map({"a": np.asarray([[1.0, -3.0]]), "b": np.asarray([[0.25, NAN]])}, [0], [1.0])
    ranges = [axis.images[0].get_clim() for axis in figure.axes if axis.images]
    assert ranges[:2] == [(-3.0, 3.0), (-0.25, 0.25)]


def test_a_rollout_without_a_reward_is_drawn_too() -> None:
    figure = turn_heat_map({"a": np.zeros((1, 2))}, [0], [None])
    assert figure.axes[0].get_yticklabels()[0].get_text() == "–"


@pytest.mark.parametrize(("values", "end"), [([1.0, -2.0], 2.0), ([0.0, NAN], 1.0), ([], 1.0), ([np.inf, 1.0], 1.0)])
def test_a_colour_scale_ends_at_the_greatest_magnitude(values: list[float], end: float) -> None:
    assert limit(values) == end


def test_tokens_are_shaded_by_credit_and_the_environments_are_not() -> None:
    figure = token_strips([Strip("t", ["up", "down", "zero", "heard"], [1.0, -1.0, 0.0, NAN])])
    (boxes,) = figure.axes[0].collections
    up, down, zero = (tuple(colour[:3]) for colour in boxes.get_facecolor())
    assert up[2] > up[0]  # bluer than red
    assert down[0] > down[2]
    assert min(zero) > 0.95
    assert len(boxes.get_paths()) == 3


def test_a_line_break_and_a_long_piece_begin_new_lines() -> None:
    figure = token_strips([Strip("t", ["a\nb", "x" * (COLUMNS + 5)], [1.0, 1.0])])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [len(line) for line in words] == [1, COLUMNS, 6]


def test_what_does_not_fit_is_left_out_and_said_so() -> None:
    figure = token_strips([Strip("t", ["line\n"] * (MOST_LINES + 7), [1.0] * (MOST_LINES + 7))])
    assert figure.axes[0].texts[-1].get_text() == "… 7 more lines"


def test_text_with_dollars_is_not_taken_for_a_formula(tmp_path: Path) -> None:
    save(token_strips([Strip("$x^$", ["costs $5 and $6_$"], [1.0])]), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 500


def test_prompts_are_ordered_by_success_and_those_without_signal_are_grey() -> None:
    figure = reward_groups([0, 0, 1, 1], [1.0, 0.0, 0.0, 0.0], {0: "mixed", 1: "equal"})
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["equal", "mixed"]
    equal, mixed = axis.collections
    red, green, blue = to_rgb(equal.get_facecolor()[0][:3])
    assert red == green == blue
    assert len(mixed.get_offsets()) == 2


def test_a_dots_area_counts_rollouts() -> None:
    sizes = reward_groups([0, 0, 0], [1.0, 0.0, 0.0]).axes[0].collections[0].get_sizes()
    assert sizes[0] == 2 * sizes[-1]


def test_branches_stand_below_their_parent_and_are_joined_to_it() -> None:
    limbs = [
        Limb(5, 1, 60, [(60, 80, 0.5)], 90, 0.0),
        Limb(1, None, 10, [(10, 40, 1.0), (60, 70, -1.0)], 70, 1.0),
        Limb(2, None, 10, [(10, 30, NAN)], 30, None),
    ]
    axis = branch_tree(limbs, "who").axes[0]
    rows = {round(bar.get_x()): bar.get_y() + bar.get_height() / 2 for bar in axis.patches}
    assert rows[60] in (0.0, 1.0)
    joints = [line for line in axis.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2]
    assert [(set(line.get_xdata()), sorted(line.get_ydata())) for line in joints] == [({60}, [0, 1])]
    assert [text.get_text() for text in axis.texts] == ["1.00", "0.00", "–"]


def test_a_branch_whose_parent_is_not_there_counts_as_a_root() -> None:
    assert branch_tree([Limb(1, 99, 10, [(10, 20, 0.0)], 20, 1.0)]).axes[0].texts[0].get_text() == "1.00"


def test_text_is_cut_to_one_line() -> None:
    assert short("a\n  b", 10) == "a b"
    assert short("abcdef", 4) == "abc…"
