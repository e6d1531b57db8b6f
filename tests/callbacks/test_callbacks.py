"""Transcripts escape what models say; intervals are Wilson's; settings flatten."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_agentrl.callbacks.before_after import wilson
from lightning_agentrl.callbacks.run_settings import flatten
from lightning_agentrl.callbacks.transcripts import Transcripts, markdown
from lightning_agentrl.policy import load_tokenizer
from lightning_agentrl.testing import tiny_policy
from lightning_agentrl.types import Reward, Segment, Task, Trajectory, Turn


def test_a_transcript_cannot_break_its_table_or_carry_markup(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy(tmp_path))
    hostile = "<script>alert(1)</script> | a | b\n| c `x`"
    turn = Turn(Segment(tuple(tokenizer.encode(hostile)), sampled=True))
    task = Task("1", ({"role": "user", "content": "<b>who</b>?"},), ("x|y",))
    rollout = Trajectory(0, 0, 0, task, Segment((1,), sampled=False), (turn,), Reward(1.0, 1.0))
    text = markdown(rollout, tokenizer)
    assert "<script>" not in text
    assert "<b>" not in text
    assert text.splitlines()[-1].count("|") == 4


@pytest.mark.parametrize(
    ("share", "trials", "low", "high"),
    [
        # (p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96.
        (0.5, 100, 0.403832, 0.596168),
        (0.0, 10, 0.0, 0.277533),
        (1.0, 10, 0.722467, 1.0),
    ],
)
def test_wilson_interval(share: float, trials: int, low: float, high: float) -> None:
    assert wilson(share, trials) == pytest.approx((low, high), abs=1e-5)


def test_no_trials_say_nothing() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_settings_flatten_to_plain_values_with_short_class_names() -> None:
    tree = {"credit": {"class_path": "a.b.GRPO", "init_args": {"eps": 1e-6, "none": None}}, "lr": 0.1}
    assert flatten(tree) == {"credit": "GRPO", "credit/eps": 1e-6, "lr": 0.1}


@pytest.mark.parametrize("options", [{"every_n_epochs": -1}, {"rollouts": 0}])
def test_impossible_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="transcripts needs"):
        Transcripts(**options)
