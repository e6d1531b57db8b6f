"""Rollouts outside of training: what a session samples, scores and branches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.rollout.jobs import Limits
from lightning_agentrl.testing import ToyEnvironment, tiny_policy
from lightning_agentrl.types import BranchPoint, Signal

SIGNALS = Signal.OLD_LOGPROBS | Signal.REF_LOGPROBS | Signal.ANSWER_LOGPROBS
LIMITS = Limits(max_turns=2, max_turn_tokens=6, max_model_len=96)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[RolloutSession]:
    with RolloutSession(tiny_policy(tmp_path), ToyEnvironment(), limits=LIMITS) as session:
        yield session


def test_a_session_samples_groups_and_scores_what_was_asked_for(session: RolloutSession) -> None:
    tasks = session.environment.tasks("train")[:2]
    collection = session.sample(tasks, group_size=3, signals=SIGNALS)
    batch = collection.batch
    assert batch.group_ids.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.entropies is None
    torch.testing.assert_close(batch.old_logprobs, batch.sampling_logprobs)
    torch.testing.assert_close(batch.ref_logprobs, batch.old_logprobs)  # with fixed weights it is its own reference
    assert batch.answer_logprobs is not None
    assert batch.answer_logprobs.isfinite().equal(batch.turn_ends >= 0)
    assert [record["answers"] for record in session.records(collection)] == [["even"]] * 3 + [["odd"]] * 3


def test_a_branch_keeps_its_parents_tokens_up_to_its_point(session: RolloutSession) -> None:
    collection = session.sample(session.environment.tasks("train")[:2], group_size=2)
    parent = collection.trajectories[1]
    column = len(parent.prompt) + 2  # behind its second token
    whole = session.branch(collection, [BranchPoint(parent.id, column)] * 3)
    branches = [trajectory for trajectory in whole.trajectories if trajectory.origin]
    assert [trajectory.group for trajectory in whole.trajectories] == [0] * 5  # the other prompt was not branched
    assert len(branches) == 3
    assert all(branch.token_ids[:column] == parent.token_ids[:column] for branch in branches)
    assert len({tuple(branch.token_ids) for branch in branches}) == 3


def test_a_branch_of_a_stranger_is_refused_by_its_id(session: RolloutSession) -> None:
    collection = session.sample(session.environment.tasks("train")[:1], group_size=2)
    with pytest.raises(ValueError, match=r"none with ids \[12345\]"):
        session.branch(collection, [BranchPoint(12345, 10)])


def test_a_closed_session_has_freed_its_engine(session: RolloutSession) -> None:
    session.close()
    assert not session.engine.started
