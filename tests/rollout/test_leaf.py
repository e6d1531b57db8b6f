"""Branches: in their parent's state, of its tokens up to a column, and within what is left of the limits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from growing import CERTAIN, chatter, check_tree, extend, grow, request, sampler
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Count, Counting, Ledger, Moody, Resuming, Unforking

from lightning_agentrl.branching.base import Frontier
from lightning_agentrl.branching.entropy import EntropyBranching, starts
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.environments.base import Environment, Episode, Observation, Unforkable
from lightning_agentrl.rollout.jobs import Limits, stable_seed
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import Action, BranchPoint, StopReason, Task, Trajectory


def finished(tokenizer: PreTrainedTokenizerBase, environment: Environment, roots: int = 2) -> list[Trajectory]:
    engine = ScriptedEngine(chatter(tokenizer))
    return grow(sampler(tokenizer, environment, ProceduralBranching(branches=1), engine), 2 * roots)


# --- the environment's state -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "steps"),
    # Two roots play 3 turns each and their branches, which left behind turn 1, 2 more; a replay plays turn 1 again.
    [(Counting(), 2 * 3 + 2 * 2), (Unforking(), 2 * 3 + 2 * 3), (Resuming(), 2 * 3 + 2 * 2)],
    ids=["forks", "is replayed", "resumes"],
)
def test_a_branch_starts_in_its_parents_state(tokenizer: PreTrainedTokenizerBase, world: Counting, steps: int) -> None:
    ledger = Ledger(world)
    found = grow(sampler(tokenizer, ledger, CERTAIN), 4)
    check_tree(found, 4)
    for trajectory in found:
        heard = [turn.observation.text(tokenizer) for turn in trajectory.turns if turn.observation]
        assert [f"heard {n}" in text for n, text in enumerate(heard, 1)] == [True, True]
        assert [(turn.reward, turn.penalty) for turn in trajectory.turns] == [(1, 1 / 8), (2, 2 / 8), (0, 0)]
        assert (trajectory.outcome, trajectory.stop) == (3, StopReason.FINISHED)
    assert ledger.steps == steps
    assert ledger.closings == {1}


def test_resuming_is_asked_with_the_groups_seed_and_the_turns_so_far(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Resuming()
    grow(sampler(tokenizer, world, CERTAIN), 4)
    seed = stable_seed(3, 1, TASKS[0].id)
    assert world.opened == [(TASKS[0].id, seed)] * 2
    assert world.resumed == [(TASKS[0].id, seed, 1)] * 2


def test_an_environment_that_can_do_neither_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Ledger(Moody())
    with pytest.raises(Unforkable, match=r"cannot be branched.*another answer to turn 1\. Implement Episode\.fork, or"):
        grow(sampler(tokenizer, world, CERTAIN), 4)
    assert world.closings == {1}


def test_a_replay_that_ends_too_early_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting(turns=3))
    with pytest.raises(Unforkable, match="another answer to turn 1"):
        extend(sampler(tokenizer, Unforking(turns=1), ProceduralBranching()), roots, [(0, starts(roots[0])[1])], 3)


def test_a_turn_knows_the_state_that_it_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    """The environment's own key if there is one, as GiGPO's anchors need it, else a hash of what was read."""
    keyed = grow(sampler(tokenizer, Counting(turns=4), CERTAIN), 4)
    assert [[turn.state_key for turn in t.turns[1:]] for t in keyed] == [[1, 2, 3]] * 4
    assert len({t.turns[0].state_key for t in keyed}) == 1

    class Keyless(Count):
        async def step(self, action: Action) -> Observation:
            return replace(await super().step(action), state_key=None)

    class World(Counting):
        async def open(self, task: Task, seed: int) -> Episode:
            return Keyless(self)

    read = grow(sampler(tokenizer, World(turns=3), Independent()), 4)
    (keys,) = {tuple(turn.state_key for turn in t.turns) for t in read}  # all of them read the same words
    assert len(set(keys)) == 3


def test_a_branch_uses_up_turns_from_where_it_left_its_parent(tokenizer: PreTrainedTokenizerBase) -> None:
    """Neither the tags in the prompt count, as in the release, nor does a branch start anew."""
    engine = ScriptedEngine(chatter(tokenizer))
    found = grow(sampler(tokenizer, Counting(turns=9), CERTAIN, engine, Limits(3, 24, 400)), 4)
    assert [(len(t.turns), t.stop) for t in found] == [(3, StopReason.MAX_TURNS)] * 4


def test_a_brancher_may_go_back_to_an_earlier_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    class Backwards(EntropyBranching):
        """Behind three turns, forks the second one in its middle."""

        def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
            late = [trajectory for trajectory in frontier.trajectories if len(trajectory.turns) == 3]
            return [BranchPoint(trajectory.id, starts(trajectory)[1] + 2) for trajectory in late[: frontier.budget]]

    found = grow(sampler(tokenizer, Counting(4), Backwards(initial_roots=2)), 4)
    check_tree(found, 4)
    for branch in found:
        heard = [turn.observation.text(tokenizer) for turn in branch.turns if turn.observation]
        assert [f"heard {n}" in text for n, text in enumerate(heard, 1)] == [True] * 3


# --- branches of finished rollouts -----------------------------------------------------------------------------------


def test_a_post_hoc_brancher_first_gets_its_roots(tokenizer: PreTrainedTokenizerBase) -> None:
    found = finished(tokenizer, Counting(), roots=3)
    check_tree(found, 3)
    assert not any(trajectory.origin for trajectory in found)


@pytest.mark.parametrize("environment", [Counting(), Unforking(), Resuming()], ids=lambda world: type(world).__name__)
def test_finished_rollouts_are_branched_at_any_token(
    tokenizer: PreTrainedTokenizerBase, environment: Environment
) -> None:
    world = Ledger(environment)
    roots = finished(tokenizer, world)
    first, second, third = starts(roots[0])
    rollouts = sampler(tokenizer, world, ProceduralBranching(branches=1))
    columns = [first, first + 3, second, second + 6, third + 1]
    new = extend(rollouts, roots, [(0, column) for column in columns], 7)
    check_tree([*roots, *new], 7)
    assert [branch.inherited for branch in new] == columns
    assert [branch.outcome for branch in new] == [3] * 5
    assert world.closings == {1}
    assert len({tuple(branch.token_ids) for branch in new}) == 5


def test_what_branches_leave_of_the_budget_goes_to_roots(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    rollouts = sampler(tokenizer, Counting(), ProceduralBranching())
    new = extend(rollouts, roots, [(1, starts(roots[1])[2])], 6)
    check_tree([*roots, *new], 6)
    assert [branch.origin is None for branch in new] == [False, True, True, True]


def test_the_limits_of_a_turn_count_what_a_branch_inherited_of_it(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    second = starts(roots[0])[1]
    engine = ScriptedEngine(chatter(tokenizer))
    limits = Limits(max_turns=3, max_turn_tokens=11, max_model_len=400)
    extend(sampler(tokenizer, Counting(), ProceduralBranching(), engine, limits), roots, [(0, second + 4)], 3)
    assert len(engine.prompts[0]) == second + 4
    assert [params.max_tokens for params in engine.params] == [11 - 4, 11]
    # And the context: of 5 columns behind the turn's start, 4 are taken.
    engine = ScriptedEngine(chatter(tokenizer))
    limits = Limits(max_turns=3, max_turn_tokens=11, max_model_len=second + 5)
    (cut,) = extend(sampler(tokenizer, Counting(), ProceduralBranching(), engine, limits), roots, [(0, second + 4)], 3)
    assert engine.params[0].max_tokens == 1
    assert cut.stop is StopReason.CONTEXT
    assert len(cut.token_ids) == second + 5


def test_a_turn_of_two_authors_is_one_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    column = starts(roots[0])[1] + 4
    rollouts = sampler(tokenizer, Counting(), ProceduralBranching())
    (branch,) = extend(rollouts, roots, [(0, column)], 3, policy_version=5)
    assert [len(turn.action) for turn in branch.turns] == [7, 4 + 7, 7]
    assert [turn.policy_version for turn in branch.turns] == [0, 5, 5]
    assert [turn.state_key for turn in branch.turns] == [turn.state_key for turn in roots[0].turns]
    assert [count for _, count in branch.own_turns] == [7, 7]
    assert [turn.cached_tokens for turn, _ in branch.own_turns] == [column // 2, starts(branch)[2] // 2]


def test_branches_get_other_seeds_than_their_parents_and_each_other(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    engine = ScriptedEngine(chatter(tokenizer))
    column = starts(roots[0])[0]
    extend(sampler(tokenizer, Counting(), ProceduralBranching(), engine), roots, [(0, column), (0, column)], 5)
    seeds = [params.seed for params in engine.params]
    assert len(set(seeds)) == len(seeds) == 9
    assert not set(seeds) & {request(sample, turn) for sample in range(2) for turn in range(3)}
    again = ScriptedEngine(chatter(tokenizer))
    extend(sampler(tokenizer, Counting(), ProceduralBranching(), again), roots, [(0, column), (0, column)], 5, epoch=2)
    assert not set(seeds) & {params.seed for params in again.params}


@pytest.mark.parametrize("where", ["in the prompt", "in an observation", "behind the end"])
def test_a_branch_starts_at_nothing_but_what_the_policy_said(tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    world = Ledger(Counting())
    roots = finished(tokenizer, world)
    column = {
        "in the prompt": len(roots[0].prompt) - 1,
        "in an observation": starts(roots[0])[1] - 1,
        "behind the end": len(roots[0].token_ids),
    }[where]
    rollouts = sampler(tokenizer, world, ProceduralBranching())
    with pytest.raises(ValueError, match=f"cannot start at column {column}: the policy sampled no token there"):
        extend(rollouts, roots, [(1, starts(roots[1])[1]), (0, column)], 6)
    assert world.closings == {1}


def test_a_moody_environment_is_refused_after_the_fact_too(tokenizer: PreTrainedTokenizerBase) -> None:
    world = Ledger(Moody())
    roots = finished(tokenizer, world)
    rollouts = sampler(tokenizer, world, ProceduralBranching())
    assert len(extend(rollouts, roots, [(0, starts(roots[0])[0])], 3)) == 1  # in the first turn nothing is replayed
    with pytest.raises(Unforkable, match="another answer to turn 1"):
        extend(rollouts, roots, [(0, starts(roots[0])[2])], 3)
    assert world.closings == {1}


def test_more_branches_than_budget_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    rollouts = sampler(tokenizer, Counting(), ProceduralBranching())
    with pytest.raises(ValueError, match="opened 2 branches, and the budget allows 1 more"):
        extend(rollouts, roots, [(0, starts(roots[0])[0])] * 2, 3)


def test_every_new_trajectory_is_announced(tokenizer: PreTrainedTokenizerBase) -> None:
    roots = finished(tokenizer, Counting())
    told: list[int] = []
    rollouts = sampler(tokenizer, Counting(), ProceduralBranching())
    extend(rollouts, roots, [(0, starts(roots[0])[1])], 5, on_trajectory=lambda t: told.append(t.sample))
    assert sorted(told) == [2, 3, 4]
