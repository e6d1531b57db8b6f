"""Rollouts without a trainer: a policy, an engine and an environment to look at, for notebooks and for debugging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import EngineSetup, RolloutEngine
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.environments.base import Environment
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.policy import load_config, load_policy, load_tokenizer
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.rollout.event_loop import EventLoopThread
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.rollout.probes import with_probes
from lightning_agentrl.rollout.records import record
from lightning_agentrl.rollout.sampler import Grown, Sampler
from lightning_agentrl.scoring.signals import fill
from lightning_agentrl.types import BranchPoint, RolloutBatch, Signal, Task, Trajectory

MAX_TOKENS = 16384
"""Most tokens of one forward."""


class RolloutSession:
    """Rolls out tasks on the CPU with fixed weights, and scores what credit assigners ask for.

    A context manager; `close` frees the engine.
    """

    def __init__(
        self,
        policy: str | Path,
        environment: Environment,
        *,
        engine: RolloutEngine | None = None,
        chat_format: ChatFormat = HermesFormat(),  # noqa: B008 - frozen
        branching: Branching = Independent(),  # noqa: B008 - frozen
        limits: Limits = Limits(max_turns=6, max_turn_tokens=48, max_model_len=512),  # noqa: B008 - frozen
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Load the policy and start the engine.

        Args:
            policy: Hugging Face folder or hub id.
            environment: its `prepare` has run.
            engine: samples; a `TransformersEngine` by default.
            chat_format: chat messages and tool calls as tokens.
            branching: where rollouts of one prompt part while they are sampled.
            limits: where a trajectory is cut.
            temperature: of samples and scores; 0 is greedy, and then scored at 1.
            seed: of every request.
        """
        self.environment = environment
        self.format = chat_format
        self.temperature = temperature
        self.seed = seed
        self.tokenizer = load_tokenizer(str(policy))
        chat_format.check(self.tokenizer)
        config = load_config(str(policy))
        self.network = load_policy(str(policy), config, "float32").eval()
        self.engine = TransformersEngine() if engine is None else engine
        self._sampler = Sampler(self.engine, environment, chat_format, branching, self.tokenizer, limits)
        self._loop = EventLoopThread()
        setup = EngineSetup(
            config=config,
            dtype=torch.float32,
            device=torch.device("cpu"),
            max_model_len=limits.max_model_len,
            temperature=temperature or 1.0,
            tokenizer=self.tokenizer,
        )
        self.engine.start(setup)
        self.engine.update_weights(self.network.state_dict().items(), version=0)

    def sample(self, tasks: Sequence[Task], group_size: int = 8, signals: Signal = Signal.NONE) -> Collection:
        """``group_size`` trajectories of each task, as a training collection would hold them, without credit."""
        jobs = [Job(task, group, group_size) for group, task in enumerate(tasks)]
        sampling = self._sampler.collect(jobs, temperature=self.temperature, seed=self.seed, epoch=0)
        return self._collection(self._loop.run(sampling), signals)

    def branch(
        self, collection: Collection, points: Sequence[BranchPoint], signals: Signal = Signal.NONE
    ) -> Collection:
        """One more trajectory for each point, sampled anew from there; with all trajectories of the points' prompts.

        Raises:
            ValueError: when a point's parent is not in the collection.
        """
        known = {trajectory.id: trajectory.group for trajectory in collection.trajectories}
        strangers = sorted({point.parent for point in points} - known.keys())
        if strangers:
            raise ValueError(f"Branches leave trajectories of the collection, and it holds none with ids {strangers}.")
        grown = []
        for group in sorted({known[point.parent] for point in points}):
            members = [trajectory for trajectory in collection.trajectories if trajectory.group == group]
            here = [point for point in points if known[point.parent] == group]
            job = Job(members[0].task, group, len(members) + len(here), members[0].sample)
            grown.append(Grown(job, members, here))
        new = self._loop.run(self._sampler.extend(grown, temperature=self.temperature, seed=self.seed, epoch=0))
        whole = [trajectory for prompt in grown for trajectory in prompt.trajectories] + new
        return self._collection(sorted(whole, key=lambda t: (t.group, t.sample)), signals)

    def score(self, batch: RolloutBatch, tasks: Sequence[Task], signals: Signal) -> RolloutBatch:
        """The batch with what ``signals`` asks for beyond what came with the rollouts; one task per row."""
        if Signal.ANSWER_LOGPROBS in signals:
            template, pad = self.environment.answer_template, int(self.tokenizer.pad_token_id or 0)
            batch = with_probes(batch, tasks, self.format, self.tokenizer, template=template, pad_id=pad)
        scale = self.temperature or 1.0
        itself = nullcontext(self.network)
        return fill(batch, signals, self.network, lambda: itself, temperature=scale, max_tokens=MAX_TOKENS)

    def records(self, collection: Collection) -> list[Mapping[str, Any]]:
        """Each trajectory in words, as saved collections hold it."""
        pieces = Pieces(self.tokenizer)
        return [record(t, collection.batch, row, pieces) for row, t in enumerate(collection.trajectories)]

    def close(self) -> None:
        """Free engine, event loop and what the environment holds; may be called twice."""
        self._loop.close()
        self.engine.close()
        self.environment.close()

    def __enter__(self) -> RolloutSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _collection(self, trajectories: list[Trajectory], signals: Signal) -> Collection:
        batch = collate(trajectories, int(self.tokenizer.pad_token_id or 0))
        batch = self.score(batch, [trajectory.task for trajectory in trajectories], signals)
        return Collection("train", 0, 0, trajectories, batch)
