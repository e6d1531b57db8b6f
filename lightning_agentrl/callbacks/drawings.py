"""A collection drawn: who earned what, by turn and by token; what groups agree on; branches as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_agentrl.callbacks.examples import most_mixed, telling, turn_credit
from lightning_agentrl.figures.branch_tree import Limb, branch_tree
from lightning_agentrl.figures.groups import reward_groups
from lightning_agentrl.figures.heat_map import turn_heat_map
from lightning_agentrl.figures.token_strip import Strip, token_strips
from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerBase


def drawings(collection: Collection, tokenizer: PreTrainedTokenizerBase, prompts: int) -> Iterator[tuple[str, Figure]]:
    """Figures of a collection under their names in TensorBoard."""
    trajectories, batch = collection.trajectories, collection.batch
    assert batch.advantages is not None
    credit = batch.advantages.masked_fill(~batch.trainable, float("nan")).numpy()  # [N, T]
    turns = turn_credit(collection)
    groups = [trajectory.group for trajectory in trajectories]
    rewards = [float(value) for value in batch.rewards]
    mixed = set(most_mixed(groups, rewards, prompts))
    shown = [row for row, group in enumerate(groups) if group in mixed]
    asked = {trajectory.group: _question(trajectory) for trajectory in trajectories}
    at, earned = [groups[row] for row in shown], [rewards[row] for row in shown]
    yield "credit/turns", turn_heat_map({"mean advantage of a turn": turns[shown]}, at, earned, asked)
    pieces = Pieces(tokenizer)
    rows = telling(groups, rewards, 3)
    yield "credit/tokens", token_strips([strip(trajectories[row], credit[row], pieces) for row in rows])
    finite = [row for row, reward in enumerate(rewards) if np.isfinite(reward)]
    if finite:
        yield "reward/groups", reward_groups([groups[r] for r in finite], [rewards[r] for r in finite], asked)
    if any(trajectory.origin for trajectory in trajectories):
        branched = [trajectory.group for trajectory in trajectories if trajectory.origin]
        tree = max(branched, key=lambda group: (branched.count(group), -group))
        limbs = [limb(t, turns[row], rewards[row]) for row, t in enumerate(trajectories) if t.group == tree]
        yield "branch/tree", branch_tree(limbs, asked[tree])


def limb(trajectory: Trajectory, credit: Sequence[float], reward: float | None) -> Limb:
    """A trajectory as the tree draws it."""
    spans, column = [], len(trajectory.prompt)
    for number, turn in enumerate(trajectory.turns):
        first, last = max(column, trajectory.inherited), column + len(turn.action)
        if last > first:
            spans.append((first, last, float(credit[number])))
        column = last + (len(turn.observation) if turn.observation else 0)
    start = trajectory.inherited or len(trajectory.prompt)
    return Limb(trajectory.id, trajectory.origin.parent if trajectory.origin else None, start, spans, column, reward)


def strip(trajectory: Trajectory, credit: np.ndarray, pieces: Pieces) -> Strip:
    """A trajectory in words, with the credit of each column; NaN leaves a word unshaded."""
    words: list[str] = []
    values: list[float] = []
    column = len(trajectory.prompt)
    for turn in trajectory.turns:
        said, heard = turn.action.token_ids, turn.observation.token_ids if turn.observation else ()
        words += pieces(said) + pieces(heard)
        values += [float(value) for value in credit[column : column + len(said)]] + [float("nan")] * len(heard)
        column += len(said) + len(heard)
    reward = trajectory.reward.shaped if trajectory.reward else float("nan")
    return Strip(f"reward {reward:.2f}: {_question(trajectory)}", words, values)


def _question(trajectory: Trajectory) -> str:
    asked = [message["content"] for message in trajectory.task.messages if message["role"] == "user"]
    return " ".join((asked[-1] if asked else trajectory.task.id).split())
