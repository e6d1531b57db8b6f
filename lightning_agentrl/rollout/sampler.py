"""The agent loop: prompt → (action → tools → observation)* → verdict, many trajectories at once, no turn barrier."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.engines.base import Completion, RolloutEngine, SamplingParams
from lightning_agentrl.environments.base import Environment, Episode, Observation
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.tools.base import schema
from lightning_agentrl.types import Segment, StopReason, Task, Trajectory, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[Trajectory], None]


@dataclass(frozen=True)
class Limits:
    """Where a trajectory is cut. Turn and context are two settings that mean two things."""

    max_turns: int
    max_turn_tokens: int
    """Tokens that the policy may say in one turn."""
    max_model_len: int
    """Tokens of prompt, actions and observations together."""

    @property
    def longest(self) -> int:
        """Most tokens that the policy may say in a trajectory."""
        return min(self.max_turns * self.max_turn_tokens, self.max_model_len)

    def __post_init__(self) -> None:
        for name in ("max_turns", "max_turn_tokens", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_turn_tokens >= self.max_model_len:
            raise ValueError(
                f"max_turn_tokens ({self.max_turn_tokens}) must be smaller than max_model_len ({self.max_model_len}): "
                f"the context holds the prompt and every turn."
            )


@dataclass(frozen=True)
class Job:
    """One prompt to roll out: a task, its number in the collection, and how many trajectories."""

    task: Task
    group: int
    samples: int
    first_sample: int = 0
    """Number of its first trajectory: a task that comes twice in an epoch must not come with the same seeds."""


def stable_seed(*parts: object) -> int:
    """63 bits that depend on the parts alone, the same on every machine and run."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class Sampler:
    """Rolls out prompts with an engine and an environment.

    Seeds depend on (run seed, epoch, task, sample, turn) only, so a rollout does not depend on its batch mates.
    """

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
        kind = type(branching)
        if kind.after_turn is not Branching.after_turn or kind.after_group is not Branching.after_group:
            raise ValueError(
                f"{kind.__name__} opens branches in the middle of rollouts, and this sampler only starts roots; use "
                f"Independent."
            )
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
        on_trajectory: Progress | None = None,
    ) -> list[Trajectory]:
        """Roll out all jobs concurrently; trajectories come back by group, then by sample.

        The first failure of the environment or the engine cancels the rest and is raised.
        """
        rollout = _Rollout(self, temperature, (seed, epoch), policy_version, on_trajectory)
        prompts = [self.prompt(job.task) for job in jobs]
        try:
            async with asyncio.TaskGroup() as running:
                tasks = [
                    running.create_task(rollout.run(job, prompt, sample))
                    for job, prompt in zip(jobs, prompts, strict=True)
                    for sample in range(job.first_sample, job.first_sample + self.branching.initial(job.samples))
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    def params(self, room: int, temperature: float, seed: int) -> SamplingParams:
        """Sampling parameters of a turn with ``room`` tokens left in the context."""
        return SamplingParams(
            max_tokens=min(self.limits.max_turn_tokens, room),
            temperature=temperature,
            stop_token_ids=self._stop,
            seed=seed if temperature > 0 else None,
        )


@dataclass(frozen=True)
class _Rollout:
    """What all trajectories of one collection share."""

    sampler: Sampler
    temperature: float
    seeds: tuple[int, int]
    policy_version: int
    on_trajectory: Progress | None

    async def run(self, job: Job, prompt: Segment, sample: int) -> Trajectory:
        trajectory = Trajectory(
            id=stable_seed(*self.seeds, job.group, sample),
            group=job.group,
            sample=sample,
            task=job.task,
            prompt=prompt,
        )
        episode = await self.sampler.environment.open(job.task, stable_seed(*self.seeds, job.task.id))
        try:
            trajectory = await self._turns(trajectory, episode)
            trajectory = replace(trajectory, reward=await episode.reward(trajectory))
        finally:
            await episode.close()
        if self.on_trajectory is not None:
            self.on_trajectory(trajectory)
        return trajectory

    async def _turns(self, trajectory: Trajectory, episode: Episode) -> Trajectory:
        limits = self.sampler.limits
        turns: list[Turn] = []
        tokens = list(trajectory.prompt.token_ids)
        state_key = stable_seed(*tokens)
        for number in range(limits.max_turns):
            turn, seen = await self._turn(trajectory, episode, tokens, number, state_key)
            # One token of room is the least that a further turn needs.
            fits = len(tokens) + len(turn.action) + len(seen.token_ids) < limits.max_model_len
            stop = self._stop(turn, seen, fits, last=number + 1 == limits.max_turns)
            if stop is not None:
                return replace(trajectory, turns=(*turns, turn), stop=stop)
            turns.append(replace(turn, observation=Segment(seen.token_ids, sampled=False)))
            tokens += [*turn.action.token_ids, *seen.token_ids]
            state_key = seen.state_key
        raise AssertionError("the last turn always stops")

    @staticmethod
    def _stop(turn: Turn, seen: _Seen, fits: bool, last: bool) -> StopReason | None:
        if turn.stop.truncated:
            return turn.stop
        if seen.done:
            return StopReason.FINISHED
        if not fits:
            return StopReason.CONTEXT
        return StopReason.MAX_TURNS if last else None

    async def _turn(
        self, trajectory: Trajectory, episode: Episode, tokens: list[int], number: int, state_key: int
    ) -> tuple[Turn, _Seen]:
        sampler = self.sampler
        room = sampler.limits.max_model_len - len(tokens)
        seed = stable_seed(*self.seeds, trajectory.task.id, trajectory.sample, number)
        completion = await sampler.engine.generate(tokens, sampler.params(room, self.temperature, seed))
        turn = Turn(
            action=_segment(completion, trajectory),
            state_key=state_key,
            policy_version=self.policy_version,
            cached_tokens=completion.cached_tokens,
        )
        if completion.finish_reason == "length":
            stop = StopReason.TURN_LENGTH if room > sampler.limits.max_turn_tokens else StopReason.CONTEXT
            return replace(turn, stop=stop), _Seen()
        answer = await episode.step(sampler.format.parse(sampler.tokenizer, completion.token_ids))
        turn = replace(turn, tool_calls=answer.tool_calls, reward=answer.reward, penalty=answer.penalty)
        return turn, self._seen(answer)

    def _seen(self, answer: Observation) -> _Seen:
        if answer.done:
            return _Seen(done=True)
        ids = tuple(self.sampler.format.observation(self.sampler.tokenizer, answer.results))
        return _Seen(ids, answer.state_key if answer.state_key is not None else stable_seed(*ids))


@dataclass(frozen=True)
class _Seen:
    """An observation in tokens."""

    token_ids: tuple[int, ...] = ()
    state_key: int = 0
    done: bool = False


def _segment(completion: Completion, trajectory: Trajectory) -> Segment:
    if not completion.token_ids:
        raise RuntimeError(
            f"The engine returned no token for trajectory {trajectory.id} (task {trajectory.task.id!r})."
        )
    return Segment(completion.token_ids, True, completion.logprobs, completion.entropies)
