"""The agent loop: prompt → (action → tools → observation)* → verdict, many trajectories at once, no turn barrier."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import RolloutEngine, SamplingParams
from lightning_agentrl.environments.base import Environment, Observation
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout.failures import Failures
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.tree import Tree, together
from lightning_agentrl.rollout.wave import Progress, Wave
from lightning_agentrl.tools.base import InfrastructureError, schema
from lightning_agentrl.types import Action, BranchPoint, Segment, Task, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Grown:
    """A prompt whose roots have finished, and where branches are to leave them."""

    job: Job
    trajectories: Sequence[Trajectory]
    points: Sequence[BranchPoint]

    @property
    def missing(self) -> int:
        """Trajectories that are still to be sampled."""
        return self.job.samples - len(self.trajectories)


class Sampler:
    """Rolls out prompts with an engine and an environment."""

    def __init__(
        self,
        engine: RolloutEngine,
        environment: Environment,
        chat_format: ChatFormat,
        branching: Branching,
        tokenizer: PreTrainedTokenizerBase,
        limits: Limits,
    ) -> None:
        self.engine = engine
        self.environment = environment
        self.format = chat_format
        self.branching = branching
        self.tokenizer = tokenizer
        self.limits = limits
        self._schemas = [schema(tool) for tool in environment.tools]
        self._stop = chat_format.stop_token_ids(tokenizer)
        self._stop_strings = chat_format.stop_strings(tokenizer)

    def prompt(self, task: Task) -> Segment:
        """The task's prompt in tokens.

        Raises:
            ValueError: when it leaves no room for a single token of an answer.
        """
        ids = self.format.prompt(self.tokenizer, task.messages, self._schemas)
        if len(ids) >= self.limits.max_model_len:
            raise ValueError(
                f"The prompt of task {task.id!r} has {len(ids)} tokens, which leaves no room in a context of "
                f"{self.limits.max_model_len}. Raise data.max_model_len or shorten the prompt."
            )
        return Segment(tuple(ids), sampled=False)

    async def collect(
        self,
        jobs: Sequence[Job],
        *,
        temperature: float,
        seed: int,
        epoch: int,
        policy_version: int = 0,
        branch: bool = True,
        on_trajectory: Progress | None = None,
        failures: Failures | None = None,
    ) -> list[Trajectory]:
        """Roll out all jobs concurrently; trajectories come back by group, then by sample.

        With an online brancher they are the job's number of leaves, with a post-hoc one the roots; with ``branch`` off
        every trajectory is a root. The first failure of the environment or the engine cancels the rest and is raised,
        save an `InfrastructureError` that a fresh episode meets with again: it drops its group, noted in ``failures``.
        """
        branching = self.branching if branch else Independent()
        failures = failures or Failures()
        wave = Wave(self, branching, temperature, (seed, epoch), policy_version, on_trajectory, failures)
        trees = [Tree(wave, job, self.prompt(job.task)) for job in jobs]
        return await _joined(((tree.job, tree.grow()) for tree in trees), failures)

    async def extend(
        self,
        grown: Sequence[Grown],
        *,
        temperature: float,
        seed: int,
        epoch: int,
        policy_version: int = 0,
        on_trajectory: Progress | None = None,
        failures: Failures | None = None,
    ) -> list[Trajectory]:
        """Branch off finished trajectories, and fill every job up to its number of trajectories with further roots.

        The new trajectories come back by group, then by sample; none of a group that had to be dropped.
        """
        failures = failures or Failures()
        wave = Wave(self, self.branching, temperature, (seed, epoch), policy_version, on_trajectory, failures)
        trees = [(Tree(wave, prompt.job, self.prompt(prompt.job.task)), prompt) for prompt in grown]
        growing = ((tree.job, tree.extend(prompt.trajectories, prompt.points)) for tree, prompt in trees)
        return await _joined(growing, failures)

    def params(self, room: int, said: int, temperature: float, seed: int, top_logprobs: int = 0) -> SamplingParams:
        """Sampling parameters of a turn with ``room`` tokens left in the context, of which ``said`` are said."""
        return SamplingParams(
            max_tokens=min(self.limits.max_turn_tokens, room) - said,
            temperature=temperature,
            stop_token_ids=self._stop,
            seed=seed if temperature > 0 else None,
            top_logprobs=top_logprobs,
            stop_strings=self._stop_strings,
        )

    def parse(self, token_ids: Sequence[int]) -> Action:
        """What the policy said in a turn."""
        return self.format.parse(self.tokenizer, token_ids)

    def observe(self, observation: Observation) -> tuple[int, ...]:
        """An answer in tokens."""
        if observation.message is not None:
            return tuple(self.format.message(self.tokenizer, observation.message))
        return tuple(self.format.observation(self.tokenizer, observation.results))


async def _joined(
    growing: Iterable[tuple[Job, Coroutine[Any, Any, list[Trajectory]]]], failures: Failures
) -> list[Trajectory]:
    """All trajectories in order, without the groups that had to be dropped."""

    async def whole(job: Job, group: Coroutine[Any, Any, list[Trajectory]]) -> list[Trajectory]:
        try:
            return await group
        except InfrastructureError as error:
            failures.drop(job, error)
            return []

    groups = await together(whole(job, group) for job, group in growing)
    return [trajectory for group in groups for trajectory in group]
