"""Engine and sampler kept in step with the learner: start, sync, parity, roll out, close."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.engines.base import EngineSetup, RolloutEngine
from lightning_agentrl.environments.base import Environment
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout.critical_path import CriticalPath, critical_path
from lightning_agentrl.rollout.event_loop import EventLoopThread
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.parity import ParityCheck
from lightning_agentrl.rollout.phases import PhaseClock
from lightning_agentrl.rollout.sampler import Grown, Sampler
from lightning_agentrl.types import Learner, Task, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 8
"""How many of the longest prompts are measured before a run."""
PROBES = 3
"""How many prompts the parity check uses."""


@dataclass(frozen=True)
class Place:
    """Where the engine runs."""

    device: torch.device
    world_size: int


class Collector:
    """Rolls out prompts with the learner's present weights. Every collection, validation included, syncs first."""

    def __init__(
        self,
        engine: RolloutEngine,
        environment: Environment,
        chat_format: ChatFormat,
        branching: Branching,
        limits: Limits,
        parity_tolerance: float | None,
    ) -> None:
        self.engine = engine
        self.environment = environment
        self.format = chat_format
        self.branching = branching
        self.limits = limits
        self.parity_tolerance = parity_tolerance
        self.clock = PhaseClock()
        self.failures = Failures()
        self.paths: list[CriticalPath] = []
        """What each wave since they were last taken waited for."""
        self._loop = EventLoopThread()
        self._sampler: Sampler | None = None
        self._probes: list[tuple[int, ...]] = []
        self._parity: ParityCheck | None = None
        self._holds_base = False

    def prepare(self, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[Task]) -> None:
        """Learn the policy's tokenizer, and see that format and prompts fit it; cheap, and before any model loads.

        Raises:
            ValueError: when the tokenizer cannot speak the format, or a prompt leaves no room in the context.
        """
        self.format.check(tokenizer)
        self._sampler = Sampler(self.engine, self.environment, self.format, self.branching, tokenizer, self.limits)
        # Tokens grow with characters: should the longest texts fit, the others do too.
        for task in sorted(tasks, key=_characters)[-LONGEST:]:
            self._sampler.prompt(task)
        self._probes = [self._sampler.prompt(task).token_ids for task in tasks[:PROBES]]

    def sync(self, learner: Learner, place: Place) -> None:
        """Give the engine the learner's weights and see that it took them; starts the engine if need be.

        Args:
            learner: whose weights.
            place: of the engine, when it has to be started.

        Raises:
            ParityError: when engine and trainer disagree afterwards.
        """
        if not self.engine.started:
            with self.clock.phase("engine_start"):
                self._start(learner, place)
        else:
            self.engine.wake()
            if self._parity is not None:
                with self.clock.phase("parity"):
                    self._loop.run(self._parity.before_sync())
        with self.clock.phase("sync"):
            self._hand_over(learner)
        if self._parity is not None:
            with self.clock.phase("parity"):
                learner.record({"policy/parity_gap": self._parity.compare(self._loop.run(self._parity.sample()))})

    def _hand_over(self, learner: Learner) -> None:
        """All weights; where adapters are synced alone, all weights once and then the adapters."""
        if learner.adapter_rank is None or not self._holds_base:
            self.engine.update_weights(learner.weights(), learner.policy_version)
            self._holds_base = True
        if learner.adapter_rank is not None:
            with tempfile.TemporaryDirectory(prefix="agentrl-adapter-") as folder:
                learner.save_adapter(Path(folder))
                self.engine.update_adapter(Path(folder), learner.policy_version)

    def roll_out(
        self, jobs: Sequence[Job], learner: Learner, *, temperature: float, seed: int, epoch: int, branch: bool = True
    ) -> list[Trajectory]:
        """Roll out all jobs; blocks until the last trajectory has its verdict. See `Sampler.collect`."""
        assert self._sampler is not None, "prepare comes first"
        total = sum(job.samples for job in jobs)
        options = self._options(learner, temperature, seed, epoch, total)
        return self._wave(self._sampler.collect(jobs, branch=branch, **options))

    def extend(
        self, grown: Sequence[Grown], learner: Learner, *, temperature: float, seed: int, epoch: int
    ) -> list[Trajectory]:
        """Branch off finished trajectories; see `Sampler.extend`."""
        assert self._sampler is not None, "prepare comes first"
        total = sum(prompt.missing for prompt in grown)
        options = self._options(learner, temperature, seed, epoch, total)
        return self._wave(self._sampler.extend(grown, **options))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A block that keeps its own account of seconds, failures and waits, and leaves the others as they were."""
        before = self.failures, self.paths
        self.failures, self.paths = Failures(), []
        try:
            with self.clock.apart():
                yield
        finally:
            self.failures, self.paths = before

    def wake(self) -> None:
        """Go on with the weights of the last `sync`."""
        self.engine.wake()

    def rest(self) -> None:
        """Let the engine sleep until the next `sync`."""
        self.engine.sleep()

    def close(self) -> None:
        """Free engine, event loop and what the environment holds; a later `sync` starts them again."""
        self._parity = None
        self._loop.close()
        self.engine.close()
        self.environment.close()

    def _wave(self, sampling: Coroutine[Any, Any, list[Trajectory]]) -> list[Trajectory]:
        started = time.perf_counter()
        with self.clock.phase("rollout"):
            trajectories = self._loop.run(sampling)
        path = critical_path(trajectories, started)
        if path is not None:
            self.paths.append(path)
            self.clock.tell("rollout", str(path))
        return trajectories

    def take_paths(self) -> list[CriticalPath]:
        """What the waves since the last call waited for."""
        paths, self.paths = self.paths, []
        return paths

    def _options(self, learner: Learner, temperature: float, seed: int, epoch: int, total: int) -> dict[str, Any]:
        """Of a wave of ``total`` trajectories."""
        done = tokens = 0
        start = time.perf_counter()

        def progress(trajectory: Trajectory) -> None:
            nonlocal done, tokens
            done += 1
            tokens += sum(count for _, count in trajectory.own_turns)
            rate = tokens / max(time.perf_counter() - start, 1e-9)
            self.clock.tell("rollout", f"{done}/{total} rollouts, {rate:.0f} tokens/s")

        return {
            "temperature": temperature,
            "seed": seed,
            "epoch": epoch,
            "policy_version": learner.policy_version,
            "on_trajectory": progress,
            "failures": self.failures,
        }

    def _start(self, learner: Learner, place: Place) -> None:
        assert self._sampler is not None, "prepare comes first"
        dtype, tokenizer = learner.policy_dtype, self._sampler.tokenizer
        setup = EngineSetup(
            config=learner.policy_config,
            dtype=dtype,
            device=place.device,
            max_model_len=self.limits.max_model_len,
            temperature=learner.temperature,
            distributed=place.world_size > 1,
            tokenizer=tokenizer if self.format.stop_strings(tokenizer) else None,
            float32_head=learner.float32_head,
            adapter_rank=learner.adapter_rank,
        )
        self.engine.start(setup)
        self._holds_base = False
        tolerance = self.parity_tolerance
        if tolerance is None:
            # 16-bit kernels of engine and trainer round differently: some hundredths of a nat are usual.
            tolerance = 1e-4 if dtype == torch.float32 else 0.3
        self._parity = ParityCheck(self.engine, learner, self._probes, tolerance) if tolerance else None


def _characters(task: Task) -> int:
    return sum(len(message["content"]) for message in task.messages)
