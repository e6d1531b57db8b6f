"""Trees in one call: a policy that chatters, engines that dawdle, and what must hold of any tree."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from worlds import TASKS

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.engines.base import Completion, RolloutEngine, SamplingParams
from lightning_agentrl.environments.base import Environment
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.jobs import Job, Limits, stable_seed
from lightning_agentrl.rollout.sampler import Grown, Sampler
from lightning_agentrl.testing import Reply, ScriptedEngine
from lightning_agentrl.types import BranchPoint, Task, Trajectory

FORMAT = HermesFormat()
LIMITS = Limits(max_turns=8, max_turn_tokens=24, max_model_len=400)
CERTAIN = EntropyBranching(initial_roots=2, base=1.0, weight=0.0)
"""Two roots, and everybody forks behind every tool result while the budget lasts."""


def chatter(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int], SamplingParams], Reply]:
    """Six letters that depend on the request's seed alone, and the end of the turn; half of the prompt was cached."""
    letters = [tokenizer.encode(letter)[0] for letter in "abcdefghijklmnopqrstuvwxyz"]
    (end,) = FORMAT.stop_token_ids(tokenizer)

    def say(ids: list[int], params: SamplingParams) -> Reply:
        rng = random.Random(params.seed)
        said = [*rng.choices(letters, k=6), end]
        return Reply(said, [-rng.random() for _ in said], [5 * rng.random() for _ in said], len(ids) // 2)

    return say


def call(name: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>'


def says(tokenizer: PreTrainedTokenizerBase, *turns: str) -> Any:
    """A script that says so in every turn but with another letter in front, so that no two trajectories are equal."""
    (start,) = tokenizer.encode(FORMAT.start_of_turn)

    def script(ids: list[int], params: SamplingParams) -> Reply:
        turn = ids.count(start) // 2 - 1  # prompt and observations open two turns each
        letters = str(tokenizer.decode(list(chatter(tokenizer)(ids, params).token_ids[:6])))
        said = FORMAT.action(tokenizer, letters + turns[min(turn, len(turns) - 1)])
        return Reply(said, entropies=[1.0] * len(said))

    return script


class Gated(ScriptedEngine):
    """Answers the requests with some seeds only once the gate is open."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seeds: Sequence[int]) -> None:
        super().__init__(chatter(tokenizer))
        self.seeds = seeds
        self.gate = asyncio.Event()
        self.waiting = self.most_waiting = 0

    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        if params.seed in self.seeds:
            await self.gate.wait()
        completion = await super().generate(token_ids, params)
        self.waiting -= 1
        return completion


class Shuffled(ScriptedEngine):
    """Answers after a random number of rounds of the event loop."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> None:
        super().__init__(chatter(tokenizer))
        self.rng = rng

    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        return await super().generate(token_ids, params)


def sampler(
    tokenizer: PreTrainedTokenizerBase,
    environment: Environment,
    branching: Branching,
    engine: RolloutEngine | None = None,
    limits: Limits = LIMITS,
) -> Sampler:
    """Of a policy that chatters, unless told otherwise."""
    engine = engine or ScriptedEngine(chatter(tokenizer))
    return Sampler(engine, environment, FORMAT, branching, tokenizer, limits)


def grow(rollouts: Sampler, jobs: int | Iterable[Job], **options: Any) -> list[Trajectory]:
    """Roll out one prompt's budget, or several prompts, and see that nothing is left running."""
    jobs = [Job(TASKS[0], 0, jobs)] if isinstance(jobs, int) else list(jobs)
    settings: dict[str, Any] = {"temperature": 1.0, "seed": 3, "epoch": 1, **options}
    found: list[Trajectory] = finish(lambda: rollouts.collect(jobs, **settings))
    return found


def finish(rollout: Callable[[], Any]) -> Any:
    """Run a coroutine that must neither hang nor leave tasks behind."""

    async def run() -> Any:
        try:
            async with asyncio.timeout(20):
                return await rollout()
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(run())


def request(sample: int, turn: int, task: Task = TASKS[0]) -> int:
    """Seed of a request of `worlds.grow`."""
    return stable_seed(3, 1, task.id, sample, turn)


def extend(
    rollouts: Sampler, parents: Sequence[Trajectory], points: Sequence[tuple[int, int]], budget: int, **options: Any
) -> list[Trajectory]:
    """Branch off samples at columns."""
    grown = Grown(
        Job(parents[0].task, 0, budget),
        parents,
        [BranchPoint(parents[sample].id, column) for sample, column in points],
    )
    settings = {"temperature": 1.0, "seed": 3, "epoch": 1, **options}
    new: list[Trajectory] = finish(lambda: rollouts.extend([grown], **settings))
    return new


def numbers(trajectory: Trajectory, name: str) -> list[float]:
    """Log-probs or entropies by column, 0 where nobody sampled."""
    return [
        value for segment in trajectory.segments for value in (getattr(segment, name) or [0.0] * len(segment.token_ids))
    ]


def shape(trajectories: Sequence[Trajectory]) -> list[tuple[int, int, list[int]]]:
    """Each trajectory's parent by its sample (−1: none), where it left it, and its tokens."""
    samples = {(trajectory.group, trajectory.id): trajectory.sample for trajectory in trajectories}
    return [
        (samples[t.group, t.origin.parent] if t.origin else -1, t.inherited, t.token_ids)
        for t in sorted(trajectories, key=lambda t: t.sample)
    ]


def check_tree(trajectories: Sequence[Trajectory], samples: int) -> None:
    """Exactly so many, all different, and each branch equal to its parent up to where it leaves it."""
    assert [trajectory.sample for trajectory in trajectories] == list(range(samples))
    by_id = {trajectory.id: trajectory for trajectory in trajectories}
    assert len(by_id) == samples
    assert len({tuple(trajectory.token_ids) for trajectory in trajectories}) == samples
    for branch in trajectories:
        assert branch.reward is not None
        if branch.origin is None:
            continue
        parent, column = by_id[branch.origin.parent], branch.origin.column
        assert branch.token_ids[:column] == parent.token_ids[:column]
        for name in ("logprobs", "entropies"):
            assert numbers(branch, name)[:column] == numbers(parent, name)[:column]
        whole = len(branch.turns) - len(list(branch.own_turns))
        assert branch.turns[:whole] == parent.turns[:whole]
        assert branch.turns[whole].state_key == parent.turns[whole].state_key
