"""Text games rolled out by the sampler: branches, anchors, and workers that are lost on the way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.textworld import TextWorldGames
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import Reply, ScriptedEngine
from lightning_agentrl.types import Trajectory

FORMAT = HermesFormat()
LIMITS = Limits(max_turns=4, max_turn_tokens=60, max_model_len=800)
Say = Callable[[Sequence[str], random.Random], str]
"""What to say, given the admissible commands."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["user\n", "assistant\n", "<action>go east</action>", "inventory, look"], 320)


def wander(commands: Sequence[str], rng: random.Random) -> str:
    return f"<action>{rng.choice(commands)}</action>"


def roll_out(
    world: TextWorldGames,
    tokenizer: PreTrainedTokenizerBase,
    samples: int,
    say: Say = wander,
    branching: Branching | None = None,
) -> tuple[list[Trajectory], dict[str, float]]:
    """One prompt's rollouts by a policy that reads what it may do, and what failed on the way."""

    def script(ids: list[int], params: SamplingParams) -> Reply:
        heard = tokenizer.decode(ids).rpartition("<|im_start|>user\n")[2]
        commands = heard.split("<|im_end|>")[0].splitlines()[-1].split(", ")
        said = FORMAT.action(tokenizer, say(commands, random.Random(params.seed)))
        return Reply(said, entropies=[1.0] * len(said))

    async def run() -> tuple[list[Trajectory], dict[str, float]]:
        failures = Failures()
        sampler = Sampler(ScriptedEngine(script), world, FORMAT, branching or Independent(), tokenizer, LIMITS)
        job: Any = Job(world.tasks("train")[0], 0, samples)
        found = await sampler.collect([job], temperature=1.0, seed=3, epoch=1, failures=failures)
        return found, failures.take()

    try:
        return asyncio.run(run())
    finally:
        assert all(keeper.seats == 0 for keeper in world._stage.pool._keepers)  # every episode left its seat


def test_branches_go_on_from_the_state_that_they_leave(
    text_world: TextWorldGames, tokenizer: PreTrainedTokenizerBase
) -> None:
    branching = EntropyBranching(initial_roots=2, base=1.0, weight=0.0)
    found, _ = roll_out(text_world, tokenizer, 6, branching=branching)
    branches = [trajectory for trajectory in found if trajectory.origin is not None]
    assert len(found) == 6
    assert branches
    # Played again by itself, each branch hears the same: it was in the state that its tokens tell.
    for branch in branches:
        commands = iter([turn.text for turn in branch.turns])
        (again,), _ = roll_out(text_world, tokenizer, 1, say=lambda *_: next(commands))  # noqa: B023 - run at once
        assert [turn.results for turn in again.turns] == [turn.results for turn in branch.turns]
        assert again.outcome == branch.outcome


def test_turns_of_a_group_share_anchor_states(text_world: TextWorldGames, tokenizer: PreTrainedTokenizerBase) -> None:
    found, _ = roll_out(text_world, tokenizer, 8)
    assert len({trajectory.outcome for trajectory in found}) == 2
    credit = GiGPO()(collate(found))
    assert credit.metrics["anchored_share"] > 0.5
    assert credit.components["step"].abs().max() > 0


def test_a_penalty_reaches_its_turn(text_world: TextWorldGames, tokenizer: PreTrainedTokenizerBase) -> None:
    found, _ = roll_out(text_world, tokenizer, 2, say=lambda commands, rng: "look")
    penalties = collate(found).turn_penalties
    assert penalties is not None
    assert penalties.tolist() == [pytest.approx([0.1] * LIMITS.max_turns)] * 2


def test_a_worker_that_is_lost_costs_no_rollout(text_world: TextWorldGames, tokenizer: PreTrainedTokenizerBase) -> None:
    undisturbed, _ = roll_out(text_world, tokenizer, 6)
    said = 0

    def kill_at_the_ninth_turn(commands: Sequence[str], rng: random.Random) -> str:
        nonlocal said
        said += 1
        if said == 9:
            os.kill(text_world._stage.pool.pids[0], signal.SIGKILL)
        return wander(commands, rng)

    found, failures = roll_out(text_world, tokenizer, 6, say=kill_at_the_ninth_turn)
    assert failures["rebuilt_episodes"] >= 1
    assert failures["dropped_groups"] == 0
    assert [t.token_ids for t in found] == [t.token_ids for t in undisturbed]
