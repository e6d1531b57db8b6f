"""The agent loop: prompt → (action → tools → observation)* → verdict, many trajectories at once, no turn barrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import RolloutEngine, SamplingParams
from lightning_agentrl.environments.base import Environment, Observation
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.tree import Tree, together
from lightning_agentrl.rollout.wave import Progress, Wave
from lightning_agentrl.tools.base import schema
from lightning_agentrl.types import Action, BranchPoint, Segment, Task, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Grown:
    """A prompt whose roots have finished, and where branches are to leave them."""

    job: Job
    trajectories: Sequence[Trajectory]
    points: Sequence[BranchPoint]


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
    ) -> list[Trajectory]:
        """Roll out all jobs concurrently; trajectories come back by group, then by sample.

        With an online brancher they are the job's number of leaves, with a post-hoc one the roots; with ``branch`` off
        every trajectory is a root. The first failure of the environment or the engine cancels the rest and is raised.
        """
        branching = self.branching if branch else Independent()
        wave = Wave(self, branching, temperature, (seed, epoch), policy_version, on_trajectory)
        trees = [Tree(wave, job, self.prompt(job.task)) for job in jobs]
        return [trajectory for grown in await together(tree.grow() for tree in trees) for trajectory in grown]

    async def extend(
        self,
        grown: Sequence[Grown],
        *,
        temperature: float,
        seed: int,
        epoch: int,
        policy_version: int = 0,
        on_trajectory: Progress | None = None,
    ) -> list[Trajectory]:
        """Branch off finished trajectories, and fill every job up to its number of trajectories with further roots.

        The new trajectories come back by group, then by sample.
        """
        wave = Wave(self, self.branching, temperature, (seed, epoch), policy_version, on_trajectory)
        trees = [(Tree(wave, prompt.job, self.prompt(prompt.job.task)), prompt) for prompt in grown]
        extended = await together(tree.extend(prompt.trajectories, prompt.points) for tree, prompt in trees)
        return [trajectory for new in extended for trajectory in new]

    def params(self, room: int, said: int, temperature: float, seed: int, top_logprobs: int = 0) -> SamplingParams:
        """Sampling parameters of a turn with ``room`` tokens left in the context, of which ``said`` are said."""
        return SamplingParams(
            max_tokens=min(self.limits.max_turn_tokens, room) - said,
            temperature=temperature,
            stop_token_ids=self._stop,
            seed=seed if temperature > 0 else None,
            top_logprobs=top_logprobs,
        )

    def parse(self, token_ids: Sequence[int]) -> Action:
        """What the policy said in a turn."""
        return self.format.parse(self.tokenizer, token_ids)

    def observe(self, observation: Observation) -> tuple[int, ...]:
        """An answer in tokens."""
        return tuple(self.format.observation(self.tokenizer, observation.results))
