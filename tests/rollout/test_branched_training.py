"""Trees that a real policy grows: their numbers are a forward pass's, and branches teach by their rewards alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from growing import CERTAIN
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.appo import APPO
from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.engines.base import EngineSetup
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.losses.future_kl import FutureKLLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.rollout.preparation import Preparation, Prepared
from lightning_agentrl.rollout.sampler import Grown, Sampler
from lightning_agentrl.rollout.shaping import Shaping
from lightning_agentrl.testing import ToyEnvironment, tiny_policy
from lightning_agentrl.types import RolloutBatch, Trajectory


class Terse(HermesFormat):
    """Every third token ends a turn, so that random policies get as far as to hear an answer."""

    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        return tuple(range(0, len(tokenizer), 3))


FORMAT = Terse()
LIMITS = Limits(max_turns=3, max_turn_tokens=16, max_model_len=128)
WORLD = ToyEnvironment(tasks=4, turns=3)
ANYWHERE = ProceduralBranching(branches=1, room=1, distance=1)
SEEDS: dict[str, Any] = {"temperature": 1.0, "seed": 3, "epoch": 1}


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> AgentRLModule:
    """A module outside of a Trainer, with the four things that it reads of one."""
    module = AgentRLModule(
        tiny_policy(tmp_path_factory.mktemp("policy")),
        APPO(),
        FutureKLLoss(),
        aggregation="sequence-mean",
        aggregation_rows="all",
    )
    module.configure_model()
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=1,
        world_size=1,
        strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: tensor),
        precision_plugin=SimpleNamespace(forward_context=torch.no_grad),
    )
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def rolled_out(
    learner: AgentRLModule, branching: Branching, order: Sequence[int] = (0, 1), second: Sequence[Grown] = ()
) -> list[Trajectory]:
    """Four trajectories per prompt by the learner's weights; or the second wave."""
    engine = TransformersEngine()
    engine.start(EngineSetup(learner.policy_config, torch.float32, torch.device("cpu"), 128, 1.0))
    engine.update_weights(learner.weights(), 0)
    rollouts = Sampler(engine, WORLD, FORMAT, branching, learner.tokenizer, LIMITS)
    tasks = WORLD.tasks("train")
    jobs = [Job(tasks[number], group, 4) for group, number in enumerate(order)]
    try:
        return asyncio.run(rollouts.extend(second, **SEEDS) if second else rollouts.collect(jobs, **SEEDS))
    finally:
        engine.close()


def preparation(learner: AgentRLModule) -> Preparation:
    return Preparation(
        learner,
        ANYWHERE,
        FORMAT,
        learner.tokenizer,
        LIMITS,
        Shaping(),
        WORLD.answer_template,
        "max",
        several_steps=True,
        weightless=frozenset(),
    )


@pytest.fixture(scope="module")
def forest(learner: AgentRLModule) -> Prepared:
    """Two prompts with two roots each, and a branch of each root."""
    prepare = preparation(learner)
    roots = prepare(rolled_out(learner, ANYWHERE))
    grown = prepare.grown(roots, 4, random.Random(0), explores=True)
    return prepare.extended(roots, rolled_out(learner, ANYWHERE, second=grown))


def check_alignment(learner: AgentRLModule, trajectories: Sequence[Trajectory]) -> None:
    """What was stored with each token is what a forward pass over the whole row says of it."""
    batch = collate(trajectories)
    assert learner.policy is not None
    assert batch.sampling_entropies is not None or not trajectories[0].turns[0].action.entropies
    with torch.no_grad():
        logits = learner.policy(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long()).logits
    logprobs = logits.log_softmax(-1)
    expected = logprobs[:, :-1].gather(2, batch.input_ids[:, 1:, None])[..., 0]
    mask = batch.action_mask[:, 1:]
    torch.testing.assert_close(batch.sampling_logprobs[:, 1:][mask], expected[mask])
    if batch.sampling_entropies is not None:
        entropies = -(logprobs.exp() * logprobs).sum(-1)[:, :-1]
        torch.testing.assert_close(batch.sampling_entropies[:, 1:][mask], entropies[mask])


def test_log_probs_and_entropies_stay_with_their_tokens_across_tool_results(learner: AgentRLModule) -> None:
    """The release appends them for sampled tokens only and reads them off by column."""
    found = rolled_out(learner, CERTAIN)
    assert any(len(branch.turns) > 1 for branch in found if branch.origin)
    check_alignment(learner, found)


def test_a_turn_of_two_authors_has_the_log_probs_of_both(learner: AgentRLModule, forest: Prepared) -> None:
    split = [
        branch for branch in forest.trajectories if any(count < len(turn.action) for turn, count in branch.own_turns)
    ]
    assert split
    check_alignment(learner, forest.trajectories)


def gradient(learner: AgentRLModule, batch: RolloutBatch) -> Tensor:
    """Of one optimizer step over the whole batch."""
    learner.zero_grad()
    steps = cut(learner.assign(batch), ppo_epochs=1, minibatches=1, accumulate=1, rng=random.Random(0))
    ((micro,),) = learner.weigh(steps, longest=LIMITS.longest)
    learner.training_step(micro, 0).backward()
    return torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])


def test_branches_move_the_policy_by_their_rewards_and_not_by_their_tokens(
    learner: AgentRLModule, forest: Prepared
) -> None:
    batch = forest.batch
    assert batch.parent_ids is not None
    assert batch.inherited is not None
    branch = batch.parent_ids >= 0
    assert branch.tolist() == [False, False, True, True] * 2
    own = branch[:, None] & (torch.arange(batch.input_ids.shape[1]) >= batch.inherited[:, None])
    before = gradient(learner, batch)
    assert before.norm() > 0
    other_words = replace(batch, input_ids=torch.where(own & batch.action_mask, 7, batch.input_ids))
    assert torch.equal(gradient(learner, other_words), before)
    other_rewards = replace(batch, rewards=torch.where(branch, batch.rewards.flip(0), batch.rewards))
    assert not torch.allclose(gradient(learner, other_rewards), before)


@pytest.mark.parametrize("credit", [ARPO(), ARPO(credit="hard"), APPO()], ids=repr)
def test_a_prompts_advantages_do_not_depend_on_where_it_stands(learner: AgentRLModule, credit: CreditAssigner) -> None:
    def advantages(order: Sequence[int]) -> dict[str, list[list[float]]]:
        found = rolled_out(learner, CERTAIN, order)
        credited, _ = apply_credit(credit, collate(found))
        assert credited.advantages is not None
        rows: dict[str, list[list[float]]] = {}
        for trajectory, row in zip(found, credited.advantages, strict=True):
            rows.setdefault(trajectory.task.id, []).append(row[: len(trajectory.token_ids)].tolist())
        return rows

    first, second = advantages([0, 1, 2]), advantages([2, 0, 1])
    assert any(any(value for value in row) for row in first["0"])
    for task, rows in first.items():
        for row, other in zip(rows, second[task], strict=True):
            assert row == pytest.approx(other, abs=1e-6)
