"""Transcripts escape what models say; intervals are Wilson's; settings flatten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_agentrl.callbacks.before_after import wilson
from lightning_agentrl.callbacks.examples import most_mixed, telling
from lightning_agentrl.callbacks.run_settings import flatten
from lightning_agentrl.callbacks.transcripts import Transcripts, markdown, transcript
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.policy import load_tokenizer
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collection import Collection
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


def test_a_transcript_shows_each_turns_credit(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy(tmp_path))
    turns = tuple(Turn(Segment(tuple(tokenizer.encode(text)), sampled=True)) for text in "abcd")
    rollout = Trajectory(0, 0, 0, Task("1", (), ()), Segment((1,), sampled=False), turns, Reward(1.0, 1.0))
    text = markdown(rollout, tokenizer, [0.5, 0.0, -1.25, float("nan"), float("nan")])  # another rollout has five turns
    assert " · 🟦⬜🟥▫️\n" in text
    cells = [line.split("|")[2].strip() for line in text.splitlines()[-4:]]
    assert cells == ["🟦 **+0.50** a", "⬜ **0** b", "🟥 **-1.25** c", "▫️ d"]


def test_a_transcript_without_credit_has_no_squares(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_policy(tmp_path))
    turn, prompt = Turn(Segment((1, 2), sampled=True, logprobs=(-1.0, -1.0))), Segment((1,), sampled=False)
    rollout = Trajectory(0, 0, 0, Task("1", (), ()), prompt, (turn,), Reward(1.0, 1.0))
    collection = Collection("validation", 0, 0, [rollout], collate([rollout]))
    assert "⬜" not in transcript(collection, tokenizer, 1)
    batch, _ = apply_credit(GRPO(), collection.batch)
    text = transcript(replace(collection, batch=batch), tokenizer, 1)
    assert text.startswith("🟦 reinforced")
    assert "| 1 | ⬜ **0** " in text  # alone in its group


def test_telling_rollouts_are_the_best_and_the_worst_of_the_most_mixed_prompt() -> None:
    groups, rewards = [0, 0, 0, 1, 1, 1], [1.0, 1.0, 1.0, 0.0, 1.0, 0.5]
    assert telling(groups, rewards, 3) == [4, 5, 3]
    assert telling(groups, rewards, 2) == [4, 3]
    assert telling([0, 1, 2], [0.0, 1.0, float("nan")], 3) == [1, 0, 2]  # no prompt is mixed: of all
    assert most_mixed(groups, rewards, 1) == [1]
