"""From trajectories to rows, and the second wave of branches: who is scored, by what, and who is trained."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from growing import FORMAT, LIMITS, chatter, finish, grow, sampler
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Counting

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.rollout.openings import openings
from lightning_agentrl.rollout.preparation import Preparation, Prepared, joined_up
from lightning_agentrl.rollout.shaping import Overlong, Shaping
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import RolloutBatch, Signal, Trajectory

EXTENDS: dict[str, Any] = {"temperature": 1.0, "seed": 3, "epoch": 1}
AT_ONCE = ProceduralBranching(branches=1, room=1, distance=1, source="entropy")


def opinion(batch: RolloutBatch) -> Tensor:
    """Some number for each sampled token, the same wherever it stands."""
    return torch.where(batch.action_mask, -(batch.input_ids * 37 % 11).float(), 0.0)


class Opinions:
    """A learner whose scores are opinions on tokens, and who remembers whom it was asked about."""

    def __init__(self, requires: Signal = Signal.OLD_LOGPROBS, trains_branches: bool = False) -> None:
        self.requires = requires
        self.trains_branches = trains_branches
        self.asked: list[tuple[Signal, list[int]]] = []
        self.recorded: dict[str, float] = {}
        self.moved = 0.0

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        self.asked.append((signals, batch.trajectory_ids.tolist()))
        scores = opinion(batch) - self.moved * batch.action_mask
        names = {"old_logprobs", "current_logprobs", "ref_logprobs", "entropies"} & set(signals.field_names)
        fields: dict[str, Any] = dict.fromkeys(names, scores)
        return replace(batch, **fields)

    def record(self, metrics: Mapping[str, float]) -> None:
        self.recorded.update(metrics)


def preparation(
    tokenizer: PreTrainedTokenizerBase, learner: Any, branching: Branching = AT_ONCE, **options: Any
) -> Preparation:
    settings: dict[str, Any] = {
        "shaping": Shaping(),
        "answer_template": "<answer> {answer} </answer>",
        "aliases": "max",
        "several_steps": False,
        "weightless": frozenset(),
        **options,
    }
    return Preparation(learner, branching, FORMAT, tokenizer, LIMITS, **settings)


def roots(tokenizer: PreTrainedTokenizerBase, prompts: int = 2, budget: int = 4) -> list[Trajectory]:
    rollouts = sampler(tokenizer, Counting(), AT_ONCE)
    return grow(rollouts, [Job(TASKS[group], group, budget) for group in range(prompts)])


def second_wave(
    tokenizer: PreTrainedTokenizerBase, prepare: Preparation, prepared: Prepared, budget: int = 4, explores: bool = True
) -> list[Trajectory]:
    grown = prepare.grown(prepared, budget, random.Random(0), explores)
    new: list[Trajectory] = finish(lambda: sampler(tokenizer, Counting(), AT_ONCE).extend(grown, **EXTENDS))
    return new


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("several_steps", "branching", "expected"),
    [
        (False, AT_ONCE, Signal.REF_LOGPROBS | Signal.ENTROPIES),
        (True, AT_ONCE, Signal.REF_LOGPROBS | Signal.ENTROPIES | Signal.OLD_LOGPROBS),
        (
            False,
            ProceduralBranching(source="drift"),
            Signal.REF_LOGPROBS | Signal.ENTROPIES | Signal.OLD_LOGPROBS | Signal.CURRENT_LOGPROBS,
        ),
    ],
)
def test_rows_are_scored_once_for_credit_loss_and_branching_together(
    tokenizer: PreTrainedTokenizerBase, several_steps: bool, branching: Branching, expected: Signal
) -> None:
    learner = Opinions(requires=Signal.REF_LOGPROBS)
    found = roots(tokenizer)
    prepared = preparation(tokenizer, learner, branching, several_steps=several_steps)(found)
    assert learner.asked == [(expected, [trajectory.id for trajectory in found])]
    assert prepared.trajectories == found
    assert prepared.batch.trajectory_ids.tolist() == [trajectory.id for trajectory in found]


@pytest.mark.parametrize(
    ("source", "moving"),
    [("drift", Signal.ENTROPIES | Signal.CURRENT_LOGPROBS), ("entropy", Signal.ENTROPIES)],
)
def test_a_second_look_leaves_what_was_the_old_policys(
    tokenizer: PreTrainedTokenizerBase, source: Any, moving: Signal
) -> None:
    learner = Opinions()
    prepare = preparation(tokenizer, learner, ProceduralBranching(source=source))
    before = prepare(roots(tokenizer))
    learner.moved = 1.0
    after = prepare.look_again(before)
    assert learner.asked[1][0] == moving
    assert before.batch.old_logprobs is not None
    assert after.batch.old_logprobs is not None
    assert after.batch.entropies is not None
    assert torch.equal(after.batch.old_logprobs, before.batch.old_logprobs)
    assert torch.equal(after.batch.entropies, before.batch.old_logprobs - 1.0 * before.batch.action_mask)


def test_some_prompts_can_be_had_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = preparation(tokenizer, Opinions())(roots(tokenizer, prompts=3))
    assert list(whole.groups) == [0, 1, 2]
    part = whole.of([2, 0])
    assert [trajectory.group for trajectory in part.trajectories] == [0, 0, 2, 2]
    assert part.batch.trajectory_ids.tolist() == [trajectory.id for trajectory in part.trajectories]


# --- where branches leave their roots --------------------------------------------------------------------------------


def test_each_prompt_is_branched_by_itself_at_open_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    brancher = replace(AT_ONCE, room=LIMITS.max_turn_tokens - 3)  # the first four tokens of a turn
    found = roots(tokenizer, prompts=3)
    prepare = preparation(tokenizer, Opinions(), brancher)
    prepared = prepare(found)
    grown = prepare.grown(prepared, 4, random.Random(0), explores=True)
    assert [(g.job.task, g.job.group, g.job.samples, g.job.first_sample) for g in grown] == [
        (TASKS[group], group, 4, 0) for group in range(3)
    ]
    width = prepared.batch.input_ids.shape[1]
    where = openings(found, width, FORMAT, tokenizer, LIMITS, brancher)
    for each in grown:
        rows = {trajectory.id: row for row, trajectory in enumerate(found) if trajectory.group == each.job.group}
        assert [trajectory.id for trajectory in each.trajectories] == list(rows)
        assert {point.parent for point in each.points} == set(rows)  # B = 1 from each of two roots
        assert all(where[rows[point.parent], point.column] for point in each.points)


def test_roots_are_paid_from_the_same_budget(tokenizer: PreTrainedTokenizerBase) -> None:
    prepare = preparation(tokenizer, Opinions(), replace(AT_ONCE, scope="prompt"))
    grown = prepare.grown(prepare(roots(tokenizer)), 5, random.Random(0), explores=True)
    assert [len(each.points) for each in grown] == [3, 3]  # two roots of five


def test_the_sample_numbers_of_a_prompt_that_came_before_go_on(tokenizer: PreTrainedTokenizerBase) -> None:
    later = grow(sampler(tokenizer, Counting(), AT_ONCE), [Job(TASKS[0], 7, 4, first_sample=4)])
    prepare = preparation(tokenizer, Opinions())
    prepared = prepare(later)
    new = second_wave(tokenizer, prepare, prepared)
    assert [(trajectory.group, trajectory.sample) for trajectory in new] == [(7, 6), (7, 7)]


def test_a_stage_that_does_not_explore_fills_up_with_roots(tokenizer: PreTrainedTokenizerBase) -> None:
    learner = Opinions()
    prepare = preparation(tokenizer, learner)
    new = second_wave(tokenizer, prepare, prepare(roots(tokenizer)), explores=False)
    assert [trajectory.origin for trajectory in new] == [None] * 4
    assert not learner.recorded  # the brancher was not asked, so it has nothing to say


def test_the_branchers_numbers_are_logged(tokenizer: PreTrainedTokenizerBase) -> None:
    learner = Opinions()
    prepare = preparation(tokenizer, learner)
    second_wave(tokenizer, prepare, prepare(roots(tokenizer)))
    assert learner.recorded["branch/guarded_share"] == 1.0  # source=entropy has no drift


# --- afterwards ------------------------------------------------------------------------------------------------------


def test_branches_that_nothing_trains_are_neither_scored_nor_trained(tokenizer: PreTrainedTokenizerBase) -> None:
    learner = Opinions()
    prepare = preparation(tokenizer, learner)
    prepared = prepare(roots(tokenizer))
    new = second_wave(tokenizer, prepare, prepared)
    assert all(branch.origin for branch in new)
    whole = prepare.extended(prepared, new)
    assert len(learner.asked) == 1  # the roots
    branch = torch.tensor([trajectory.origin is not None for trajectory in whole.trajectories])
    assert whole.batch.loss_mask is not None
    assert torch.equal(whole.batch.loss_mask, whole.batch.action_mask & ~branch[:, None])
    assert whole.batch.parent_ids is not None
    assert (whole.batch.parent_ids >= 0).tolist() == branch.tolist()


def test_rows_come_by_group_and_sample_and_keep_their_own_scores(tokenizer: PreTrainedTokenizerBase) -> None:
    prepare = preparation(tokenizer, Opinions())
    prepared = prepare(roots(tokenizer))
    whole = prepare.extended(prepared, second_wave(tokenizer, prepare, prepared))
    assert [(t.group, t.sample) for t in whole.trajectories] == [(g, s) for g in range(2) for s in range(4)]
    assert whole.batch.trajectory_ids.tolist() == [trajectory.id for trajectory in whole.trajectories]
    old = whole.batch.old_logprobs
    assert old is not None
    assert old.shape == whole.batch.input_ids.shape
    scored = whole.batch.trainable.any(1)
    torch.testing.assert_close(old, opinion(whole.batch) * scored[:, None])


def test_further_roots_are_scored_without_what_only_the_brancher_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    learner = Opinions()
    prepare = preparation(tokenizer, learner)
    prepared = prepare(roots(tokenizer))
    new = second_wave(tokenizer, prepare, prepared, explores=False)
    whole = prepare.extended(prepared, new)
    assert learner.asked[1] == (Signal.OLD_LOGPROBS, [trajectory.id for trajectory in new])
    assert bool(whole.batch.trainable.any(1).all())


def test_branches_are_scored_and_trained_like_roots_if_the_credit_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    learner = Opinions(trains_branches=True)
    prepare = preparation(tokenizer, learner)
    prepared = prepare(roots(tokenizer))
    new = second_wave(tokenizer, prepare, prepared)
    whole = prepare.extended(prepared, new)
    assert learner.asked[1][1] == [trajectory.id for trajectory in new]
    assert torch.equal(whole.batch.trainable, whole.batch.action_mask)


def test_ranks_ask_equally_often_whatever_they_have_to_ask(tokenizer: PreTrainedTokenizerBase) -> None:
    prepare = preparation(tokenizer, learner := Opinions(), several_ranks=True)
    prepared = prepare(roots(tokenizer))
    prepare.extended(prepared, second_wave(tokenizer, prepare, prepared))  # branches alone, which nothing trains
    assert [len(rows) for _, rows in learner.asked] == [len(prepared.batch), 1]


def test_what_a_branch_inherited_keeps_the_old_log_probs_of_the_policy_that_sampled_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    learner = Opinions(trains_branches=True)
    prepare = preparation(tokenizer, learner)
    prepared = prepare(roots(tokenizer))
    learner.moved = 0.5  # a step was made before the branches were drawn
    whole = prepare.extended(prepared, second_wave(tokenizer, prepare, prepared)).batch
    assert whole.old_logprobs is not None
    assert whole.parent_ids is not None
    assert whole.inherited is not None
    assert bool((whole.parent_ids >= 0).any())
    here = torch.arange(whole.input_ids.shape[1]) >= whole.inherited[:, None]
    new = ~torch.isin(whole.trajectory_ids, prepared.batch.trajectory_ids)
    expected = opinion(whole) - 0.5 * (here & new[:, None] & whole.action_mask)
    torch.testing.assert_close(whole.old_logprobs, expected)


def test_a_second_wave_of_nobody_changes_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    prepare = preparation(tokenizer, Opinions())
    prepared = prepare(roots(tokenizer))
    assert prepare.extended(prepared, []) is prepared
    assert joined_up([prepared]) is prepared


def test_rewards_of_silent_branches_are_shaped_too(tokenizer: PreTrainedTokenizerBase) -> None:
    # Three turns of seven tokens each; a branch in the middle of a turn has said more. 0 to 10 tokens cost nothing, and
    # each further one 1/10.
    shaping = Shaping(overlong=Overlong(buffer=10, limit=20, floor=None))
    prepare = preparation(tokenizer, Opinions(), shaping=shaping)
    prepared = prepare(roots(tokenizer))
    whole = prepare.extended(prepared, second_wave(tokenizer, prepare, prepared)).batch
    lengths = whole.action_mask.sum(1)
    torch.testing.assert_close(whole.rewards, 3.0 - (lengths - 10) / 10)
    assert lengths.unique().numel() > 1


def test_prompts_without_weight_stay_without_it(tokenizer: PreTrainedTokenizerBase) -> None:
    prepare = preparation(tokenizer, Opinions(trains_branches=True), weightless=frozenset({1}))
    prepared = prepare(roots(tokenizer))
    whole = prepare.extended(prepared, second_wave(tokenizer, prepare, prepared)).batch
    assert whole.trainable.any(1).tolist() == [True] * 4 + [False] * 4


def test_how_many_rows_a_prompt_ends_with_does_not_depend_on_what_was_said(tokenizer: PreTrainedTokenizerBase) -> None:
    """Fewer decision points than slots: the rest are roots."""
    narrow = ProceduralBranching(branches=3, source="entropy", distance=100, room=1)
    prepare = preparation(tokenizer, Opinions(), narrow)
    prepared = prepare(roots(tokenizer, budget=4))
    engine = ScriptedEngine(chatter(tokenizer))
    grown = prepare.grown(prepared, 8, random.Random(0), explores=True)
    new = finish(lambda: sampler(tokenizer, Counting(), narrow, engine).extend(grown, **EXTENDS))
    whole = prepare.extended(prepared, new)
    assert [sum(t.group == group for t in whole.trajectories) for group in range(2)] == [8, 8]
    # One point in each of two roots, the others being too near.
    assert [sum(t.group == group and t.origin is not None for t in new) for group in range(2)] == [2, 2]
