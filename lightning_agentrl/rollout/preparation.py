"""From trajectories to a batch that credit can be assigned to, and the second wave of branches in between."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.ops import owner_rows
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.joining import joined
from lightning_agentrl.rollout.openings import openings
from lightning_agentrl.rollout.probes import Aliases, with_probes
from lightning_agentrl.rollout.sampler import Grown
from lightning_agentrl.rollout.shaping import Shaping, without_weight
from lightning_agentrl.types import BranchPoint, Learner, RolloutBatch, Signal, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prepared:
    """Trajectories by group and sample, and their rows in the same order."""

    trajectories: list[Trajectory]
    batch: RolloutBatch

    @property
    def groups(self) -> dict[int, None]:
        """Numbers of the prompts, in order."""
        return dict.fromkeys(trajectory.group for trajectory in self.trajectories)

    def of(self, groups: Sequence[int]) -> Prepared:
        """Those of some prompts."""
        wanted = frozenset(groups)
        rows = [row for row, trajectory in enumerate(self.trajectories) if trajectory.group in wanted]
        return Prepared([self.trajectories[row] for row in rows], self.batch.select(torch.tensor(rows)))


@dataclass(frozen=True)
class Preparation:
    """How a collection's trajectories become rows."""

    learner: Learner
    branching: Branching
    chat_format: ChatFormat
    tokenizer: PreTrainedTokenizerBase
    limits: Limits
    shaping: Shaping
    answer_template: str
    aliases: Aliases
    several_steps: bool
    """Whether a collection makes more than one optimizer step, so that the ratio has a past."""
    weightless: frozenset[int]
    """Groups that nothing is to be learned from."""
    wanted: Signal = Signal.NONE
    """Signals that somebody wants to look at."""
    several_ranks: bool = False
    """Whether all ranks have to ask the learner equally often."""

    def __call__(self, trajectories: Sequence[Trajectory]) -> Prepared:
        """Rows with all signals that credit, loss and branching ask for."""
        return self._prepared(trajectories, self.branching.requires)

    def trained(self, batch: RolloutBatch) -> RolloutBatch:
        """Without what is only wanted: looking at a collection must not change what is learned from it."""
        needed = self.learner.requires | self.branching.requires
        if self.several_steps:
            needed |= Signal.OLD_LOGPROBS
        return replace(batch, **dict.fromkeys((self.wanted & ~needed).field_names))  # type: ignore[arg-type]

    def look_again(self, prepared: Prepared) -> Prepared:
        """The rows with the opinion of a policy that has moved since."""
        moving = self.branching.requires & (Signal.CURRENT_LOGPROBS | Signal.ENTROPIES)
        return replace(prepared, batch=self.learner.score(prepared.batch, moving))

    def grown(self, prepared: Prepared, budget: int, rng: random.Random, explores: bool) -> list[Grown]:
        """Each prompt with its roots and with where branches leave them.

        Args:
            prepared: roots.
            budget: trajectories of a prompt, roots included.
            rng: of the choice.
            explores: whether there are branches at all; otherwise further roots take their place.
        """
        batch, width = prepared.batch, prepared.batch.input_ids.shape[1]
        prompts = [list(members) for _, members in groupby(prepared.trajectories, key=lambda t: t.group)]
        points: list[Sequence[BranchPoint]] = [() for _ in prompts]
        if explores:
            settings = (self.chat_format, self.tokenizer, self.limits, self.branching)
            open_at = openings(prepared.trajectories, width, *settings)
            parts = torch.arange(len(batch)).split([len(roots) for roots in prompts])
            points = [
                self.branching.after_group(batch.select(rows), open_at[rows], budget - len(rows), rng) for rows in parts
            ]
            slots = sum(budget - len(roots) for roots in prompts)
            numbers = {**self.branching.describe(batch), "unfilled_share": 1 - sum(map(len, points)) / max(slots, 1)}
            self.learner.record({f"branch/{name}": value for name, value in numbers.items()})
        return [
            Grown(Job(roots[0].task, roots[0].group, budget, roots[0].sample), roots, at)
            for roots, at in zip(prompts, points, strict=True)
        ]

    def extended(self, prepared: Prepared, new: Sequence[Trajectory]) -> Prepared:
        """With what was sampled since; branches that nothing trains are not scored."""
        trains = self.learner.trains_branches
        spoken = [trajectory for trajectory in new if trains or trajectory.origin is None]
        silent = [trajectory for trajectory in new if not trains and trajectory.origin is not None]
        parts = [prepared]
        if spoken:
            parts.append(self._prepared(spoken, Signal.NONE))
        elif self.several_ranks:  # another rank may have some, and then waits for forwards of this one
            self._prepared(prepared.trajectories[:1], Signal.NONE)
        if silent:
            batch = self._rows(silent)
            parts.append(Prepared(silent, replace(batch, loss_mask=torch.zeros_like(batch.action_mask))))
        return _as_sampled(joined_up(parts)) if trains and new else joined_up(parts)

    def _prepared(self, trajectories: Sequence[Trajectory], more: Signal) -> Prepared:
        signals = self.learner.requires | self.wanted | more
        # Wanted, but these tasks have no ground truth. Those of another rank may, which then waits for this one.
        nothing = not self.learner.requires & Signal.ANSWER_LOGPROBS and not any(t.task.answers for t in trajectories)
        if nothing and not self.several_ranks:
            signals &= ~Signal.ANSWER_LOGPROBS
        if self.several_steps:
            signals |= Signal.OLD_LOGPROBS
        batch = self._rows(trajectories)
        if Signal.ANSWER_LOGPROBS in signals:
            batch = with_probes(
                batch,
                [trajectory.task for trajectory in trajectories],
                self.chat_format,
                self.tokenizer,
                template=self.answer_template,
                aliases=self.aliases,
                pad_id=self._pad_id,
            )
        batch = self.learner.score(batch, signals)
        if nothing:
            batch = replace(batch, answer_logprobs=None, probe_ids=None, probe_scored=None)
        return Prepared(list(trajectories), batch)

    def _rows(self, trajectories: Sequence[Trajectory]) -> RolloutBatch:
        return self.shaping(without_weight(collate(trajectories, self._pad_id), self.weightless))

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)


def _as_sampled(prepared: Prepared) -> Prepared:
    """What a branch inherited keeps the old log-probs of its parent, since that policy sampled it."""
    batch = prepared.batch
    if batch.old_logprobs is None:
        return prepared
    width = batch.input_ids.shape[1]
    owners = owner_rows(batch.trajectory_ids, batch.parent_ids, batch.inherited, width)
    old = batch.old_logprobs[owners, torch.arange(width)]
    return replace(prepared, batch=replace(batch, old_logprobs=old))


def joined_up(parts: Sequence[Prepared]) -> Prepared:
    """All of them, by group and sample."""
    if len(parts) == 1:
        return parts[0]
    trajectories = [trajectory for part in parts for trajectory in part.trajectories]
    order = sorted(range(len(trajectories)), key=lambda row: (trajectories[row].group, trajectories[row].sample))
    batch = joined([part.batch for part in parts]).select(torch.tensor(order))
    return Prepared([trajectories[row] for row in order], batch)
