"""Trees of rollouts: exactly the budget, the same tree from the same seeds, and nobody waits for other prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from growing import CERTAIN, FORMAT, Gated, Shuffled, chatter, check_tree, grow, request, sampler, shape
from transformers import PreTrainedTokenizerBase
from worlds import TASKS, Counting, Ledger

from lightning_agentrl.branching.base import Branching, Frontier
from lightning_agentrl.branching.entropy import EntropyBranching, starts
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.environments.base import Episode
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.testing import Reply, ScriptedEngine
from lightning_agentrl.types import BranchPoint, Task, Trajectory

# --- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 2, 4])
@pytest.mark.parametrize(
    "brancher",
    [
        EntropyBranching(),
        EntropyBranching(base=0.0, weight=0.0),
        CERTAIN,
        EntropyBranching(initial_roots=1, attempts=9, base=1.0, order="ranked"),
        EntropyBranching(initial_roots=7),
        EntropyBranching(split=0.5),
        EntropyBranching(penalty=0.3, penalty_form="released"),
        EntropyBranching(penalty=0.3),
        Independent(),
    ],
)
def test_a_prompt_gets_exactly_its_budget(tokenizer: PreTrainedTokenizerBase, brancher: Branching, turns: int) -> None:
    world = Ledger(Counting(turns))
    found = grow(sampler(tokenizer, world, brancher), samples := 7)
    check_tree(found, samples)
    assert all(trajectory.outcome == len(trajectory.turns) == turns for trajectory in found)
    assert len(world.episodes) == samples
    assert world.closings == {1}


def test_without_tool_calls_the_rest_of_the_budget_goes_to_roots_at_once(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = Gated(tokenizer, [])
    found = grow(sampler(tokenizer, Counting(turns=1), CERTAIN, engine), 9)
    assert [trajectory.origin for trajectory in found] == [None] * 9
    assert engine.most_waiting == 7  # all that the two first roots left, side by side


def test_forks_share_the_turns_before_them(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(chatter(tokenizer))
    found = grow(sampler(tokenizer, Counting(turns=3), CERTAIN, engine), 4)
    check_tree(found, 4)
    assert [branch.origin and branch.origin.column for branch in found] == [
        None,
        None,
        *(starts(found[0])[1],) * 2,  # prompt, seven tokens and one observation, in both trees
    ]
    # Two roots say turns 0, 1 and 2, and two branches turns 1 and 2: ten requests instead of twelve.
    assert len(engine.prompts) == 10


def test_branches_branch_again(tokenizer: PreTrainedTokenizerBase) -> None:
    one = EntropyBranching(initial_roots=1, base=1.0, weight=0.0)
    found = grow(sampler(tokenizer, Counting(turns=4), one), 8)
    check_tree(found, 8)
    # One trajectory becomes 2 behind the first result, 4 behind the second, 8 behind the third.
    parents = [parent for parent, _, _ in shape(found)]
    assert (parents[:2], sorted(parents[2:4])) == ([-1, 0], [0, 1])
    assert sorted(parents[4:]) == [0, 1, 2, 3]


def test_branching_changes_nothing_for_the_roots(tokenizer: PreTrainedTokenizerBase) -> None:
    def roots(brancher: Branching, samples: int) -> list[list[int]]:
        engine = ScriptedEngine(chatter(tokenizer))
        return [t.token_ids for t in grow(sampler(tokenizer, Counting(), brancher, engine), samples) if not t.origin]

    assert roots(CERTAIN, 6) == roots(Independent(), 2)


def test_a_brancher_that_never_branches_still_spends_the_budget(tokenizer: PreTrainedTokenizerBase) -> None:
    class Shy(Independent):
        def initial(self, budget: int) -> int:
            return 1

    grown = grow(sampler(tokenizer, Counting(), Shy()), [Job(TASKS[0], 0, 4)])
    assert [trajectory.origin for trajectory in grown] == [None] * 4


def test_a_brancher_that_overspends_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    class Greedy(EntropyBranching):
        def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
            one = frontier.trajectories[0]
            return [BranchPoint(one.id, starts(one)[-1])] * (frontier.budget + 1)

    world = Ledger(Counting())
    with pytest.raises(ValueError, match="Greedy opened 3 branches, and the budget allows 2 more"):
        grow(sampler(tokenizer, world, Greedy(initial_roots=2)), 4)
    assert world.closings == {1}


def test_a_brancher_may_only_fork_what_it_was_shown(tokenizer: PreTrainedTokenizerBase) -> None:
    class Stranger(EntropyBranching):
        def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
            return [BranchPoint(123, 9)]

    with pytest.raises(ValueError, match=r"Stranger branched off trajectories that it was not shown: \[123\]"):
        grow(sampler(tokenizer, Counting(), Stranger(initial_roots=2)), 4)


# --- what the brancher sees ------------------------------------------------------------------------------------------


def test_the_brancher_is_shown_every_live_turn_the_budget_and_what_was_opened_before(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    opened: list[list[BranchPoint]] = []

    class Watching(EntropyBranching):
        def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
            branches = [point for points in opened for point in points]
            assert len(frontier.trajectories) == 2 + len(branches)
            assert frontier.budget == 6 - 2 - len(branches)
            assert frontier.vocabulary == len(tokenizer)
            assert frontier.rounds == opened
            assert sorted(frontier.origins.values(), key=repr) == sorted(branches, key=repr)
            assert all(trajectory.turns[-1].observation is None for trajectory in frontier.trajectories)
            assert max(len(trajectory.turns) for trajectory in frontier.trajectories) == len(opened) + 1
            opened.append(super().after_turn(frontier, rng))
            return opened[-1]

    watching = Watching(initial_roots=2, base=0.4, weight=0.0)
    found = grow(sampler(tokenizer, Counting(turns=20), watching, limits=Limits(20, 24, 900)), 6)
    branches = [point for points in opened for point in points]
    assert sorted(branches, key=repr) == sorted((t.origin for t in found if t.origin), key=repr)
    assert len(branches) == 4
    assert sum(bool(points) for points in opened) >= 2


def test_a_branch_inherits_the_first_turn_that_its_entropy_is_compared_with(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    found = grow(sampler(tokenizer, Counting(turns=4), CERTAIN), 8)
    ids = {trajectory.id: trajectory for trajectory in found}
    deep = [t for t in found if t.origin and ids[t.origin.parent].origin]
    assert deep  # a branch of a branch
    for branch in found:
        root = branch
        while root.origin:
            root = ids[root.origin.parent]
        assert branch.turns[0] == root.turns[0]


def test_every_collection_starts_with_a_clean_slate(tokenizer: PreTrainedTokenizerBase) -> None:
    """The release keeps first entropies by row number from the first batch on."""
    rollouts = sampler(tokenizer, Counting(4), EntropyBranching())
    grow(rollouts, 8, epoch=0)
    fresh = sampler(tokenizer, Counting(4), EntropyBranching())
    assert shape(grow(rollouts, 8)) == shape(grow(fresh, 8))


def test_the_engine_is_asked_for_a_top_k_only_if_the_brancher_wants_one(tokenizer: PreTrainedTokenizerBase) -> None:
    def asked(brancher: Branching, **options: Any) -> set[int]:
        engine = ScriptedEngine(chatter(tokenizer))
        grow(sampler(tokenizer, Counting(), brancher, engine), 4, **options)
        return {params.top_logprobs for params in engine.params}

    assert asked(EntropyBranching(top_k=7)) == {7}
    assert asked(Independent()) == asked(ProceduralBranching()) == {0}
    assert asked(EntropyBranching(top_k=7), branch=False) == {0}


def test_validation_never_branches(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(chatter(tokenizer))
    found = grow(sampler(tokenizer, Counting(), CERTAIN, engine), 5, branch=False)
    check_tree(found, 5)
    assert not any(trajectory.origin for trajectory in found)


def test_every_round_of_every_prompt_draws_its_own_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    class Drawing(EntropyBranching):
        def after_turn(self, frontier: Frontier, rng: random.Random) -> list[BranchPoint]:
            drawn.append(rng.random())
            return []

    def draws(*jobs: Job, **options: Any) -> list[float]:
        drawn.clear()
        grow(sampler(tokenizer, Counting(4), Drawing()), jobs, **options)
        return list(drawn)

    drawn: list[float] = []
    first = draws(Job(TASKS[0], 0, 4))
    assert len(set(first)) == 4
    others = [draws(Job(TASKS[1], 0, 4)), draws(Job(TASKS[0], 0, 4, first_sample=4))]
    others += [draws(Job(TASKS[0], 0, 4), epoch=2), draws(Job(TASKS[0], 0, 4), seed=4)]
    assert len({number for numbers in [first, *others] for number in numbers}) == 20
    assert draws(Job(TASKS[0], 5, 4)) == first


# --- time and chance -------------------------------------------------------------------------------------------------


def test_the_same_seeds_grow_the_same_trees_whatever_the_latencies(tokenizer: PreTrainedTokenizerBase) -> None:
    def trees(latencies: int, order: Sequence[int] = (0, 1), **options: Any) -> dict[str, Any]:
        engine = Shuffled(tokenizer, random.Random(latencies))
        rollouts = sampler(tokenizer, Counting(5), EntropyBranching(initial_roots=3), engine)
        found = grow(rollouts, [Job(TASKS[number], group, 9) for group, number in enumerate(order)], **options)
        return {task.id: shape([t for t in found if t.task is task]) for task in TASKS}

    first = trees(0)
    assert first == trees(1) == trees(2)
    assert trees(3, order=(3, 1, 2, 0)).items() >= {"0": first["0"], "1": first["1"]}.items()
    assert trees(0, epoch=2)["0"] != first["0"]
    assert trees(0, seed=4)["0"] != first["0"]


def test_a_prompt_that_comes_twice_grows_two_trees(tokenizer: PreTrainedTokenizerBase) -> None:
    rollouts = sampler(tokenizer, Counting(5), EntropyBranching(initial_roots=3))
    found = grow(rollouts, [Job(TASKS[0], 0, 8), Job(TASKS[0], 1, 8, first_sample=8)])
    assert [trajectory.sample for trajectory in found] == list(range(16))
    assert len({trajectory.id for trajectory in found}) == 16
    assert len({tuple(trajectory.token_ids) for trajectory in found}) == 16
    first, second = (shape([t for t in found if t.group == group]) for group in (0, 1))
    assert [(parent, column) for parent, column, _ in first] != [
        (parent if parent < 0 else parent - 8, column) for parent, column, _ in second
    ]


def test_prompts_do_not_wait_for_each_other(tokenizer: PreTrainedTokenizerBase) -> None:
    """The first prompt's first words come only when the other prompts are done."""
    engine = Gated(tokenizer, [request(0, 0)])
    done: list[int] = []

    def progress(trajectory: Trajectory) -> None:
        done.append(trajectory.group)
        if len(done) == 3 * 5:
            engine.gate.set()

    jobs = [Job(task, group, 5) for group, task in enumerate(TASKS)]
    grow(sampler(tokenizer, Counting(4), CERTAIN, engine), jobs, on_trajectory=progress)
    assert 0 not in done[:15]
    assert done[15:] == [0] * 5


def test_nobody_waits_for_siblings_once_the_budget_is_spent(tokenizer: PreTrainedTokenizerBase) -> None:
    # Two roots fork at turn 1, which spends the budget of 4. Root 0's turn 2 comes when the other three are done.
    engine = Gated(tokenizer, [request(0, 2)])
    done: list[int] = []

    def progress(trajectory: Trajectory) -> None:
        done.append(trajectory.sample)
        if len(done) == 3:
            engine.gate.set()

    grow(sampler(tokenizer, Counting(5), CERTAIN, engine), 4, on_trajectory=progress)
    assert done[3] == 0


def test_a_pilot_runs_alone_to_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = Gated(tokenizer, [])
    starts_of: list[int] = []

    class World(Counting):
        async def open(self, task: Task, seed: int) -> Episode:
            starts_of.append(len(engine.prompts))
            return await super().open(task, seed)

    # No gap between entropies of 0: N = int(8/2) + 1 = 5, the pilot included; it has said its 3 turns by then.
    (letter, end) = FORMAT.action(tokenizer, "a")
    engine.script = lambda ids, params: Reply([letter, end], entropies=[0.0, 0.0])
    grow(sampler(tokenizer, World(3), EntropyBranching(split=0.5, base=1.0), engine), 8)
    assert starts_of == [0, *[3] * 4]
