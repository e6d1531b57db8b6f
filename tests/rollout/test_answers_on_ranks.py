"""Answers that somebody wants to look at, where tasks of a rank have none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from growing import FORMAT, LIMITS, grow, sampler
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Counting

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.rollout.preparation import Preparation
from lightning_agentrl.rollout.shaping import Shaping
from lightning_agentrl.types import RolloutBatch, Signal


class Asked:
    """A learner that needs nothing, and remembers what it was asked for."""

    requires = Signal.NONE

    def score(self, batch: RolloutBatch, signals: Signal) -> RolloutBatch:
        self.signals = signals
        return batch


@pytest.mark.parametrize("several_ranks", [False, True])
def test_ranks_ask_for_the_same_whatever_answers_their_tasks_have(
    tokenizer: PreTrainedTokenizerBase, several_ranks: bool
) -> None:
    """A sharded policy makes its forwards on all ranks at once; what cannot be had is not held."""
    grown = grow(sampler(tokenizer, Counting(), Independent()), [Job(TASKS[0], 0, 2)])
    found = [replace(trajectory, task=replace(trajectory.task, answers=())) for trajectory in grown]
    learner: Any = Asked()
    prepare = Preparation(
        learner,
        Independent(),
        FORMAT,
        tokenizer,
        LIMITS,
        Shaping(),
        answer_template="<answer> {answer} </answer>",
        aliases="max",
        several_steps=False,
        weightless=frozenset(),
        wanted=Signal.ANSWER_LOGPROBS,
        several_ranks=several_ranks,
    )
    batch = prepare(found).batch
    assert bool(learner.signals & Signal.ANSWER_LOGPROBS) == several_ranks
    assert batch.answer_logprobs is None
    assert batch.probe_ids is None
