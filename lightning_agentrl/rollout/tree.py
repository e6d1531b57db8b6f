"""One prompt's trajectories: roots, branches off them, and the budget that both are paid from."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from lightning_agentrl.branching.base import Branching, Frontier
from lightning_agentrl.environments.base import Episode, Unforkable
from lightning_agentrl.rollout.jobs import Job, stable_seed
from lightning_agentrl.rollout.leaf import Leaf, branch_leaf, open_leaf, restored
from lightning_agentrl.rollout.stages import post_hoc
from lightning_agentrl.rollout.wave import Wave
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import BranchPoint, Segment, Trajectory

T = TypeVar("T")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order; the first failure cancels the rest and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def twice(attempt: Callable[[], Awaitable[T]]) -> T:
    """Await something, and once more where the machinery behind it failed."""
    try:
        return await attempt()
    except InfrastructureError:
        return await attempt()


async def _close(episode: Episode) -> None:
    """Close an episode, which may be broken; then there is nothing left to be done about it."""
    with contextlib.suppress(InfrastructureError):
        await episode.close()


class Tree:
    """Grows until exactly ``job.samples`` trajectories have their verdict."""

    def __init__(self, wave: Wave, job: Job, prompt: Segment) -> None:
        self.wave = wave
        self.job = job
        self.prompt = prompt
        self._used = 0
        """Trajectories that were started; the next one gets this number."""
        self._finished: list[Trajectory] = []
        self._episodes: list[Episode] = []
        """Those that are open."""
        self._origins: dict[int, BranchPoint] = {}
        self._rounds: list[list[BranchPoint]] = []

    async def grow(self) -> list[Trajectory]:
        """Roots and, with an online brancher, branches; by sample."""
        branching, budget = self.wave.branching, self.job.samples
        try:
            if branching.pilot:
                await together(self._to_end(leaf) for leaf in await self._roots(1))
                roots = branching.roots(self._finished[0], budget, self._vocabulary) - 1
            else:
                roots = branching.initial(budget)
            live = await self._roots(roots)
            if type(branching).after_turn is not Branching.after_turn:
                await self._branch(live)
            else:
                rest = 0 if post_hoc(branching) else self._free
                await together([*map(self._to_end, live), *(self._root_to_end(self._new()) for _ in range(rest))])
        finally:
            await self._close()
        return sorted(self._finished, key=lambda trajectory: trajectory.sample)

    async def extend(self, parents: Sequence[Trajectory], points: Sequence[BranchPoint]) -> list[Trajectory]:
        """Branches off finished trajectories, and further roots for what is left of the budget; by sample."""
        self._used = len(parents)
        self._check(points, {parent.id for parent in parents})
        by_id = {parent.id: parent for parent in parents}
        try:
            forks = [self._fork_to_end(self._new(), by_id[point.parent], point) for point in points]
            await together([*forks, *(self._root_to_end(self._new()) for _ in range(self._free))])
        finally:
            await self._close()
        return sorted(self._finished, key=lambda trajectory: trajectory.sample)

    @property
    def _free(self) -> int:
        return self.job.samples - self._used

    @property
    def _vocabulary(self) -> int:
        return len(self.wave.sampler.tokenizer)

    async def _branch(self, live: list[Leaf]) -> None:
        """Turn by turn while there is something to spend: a prompt waits for its own leaves, and for no other's."""
        forks: list[tuple[Leaf, Trajectory, BranchPoint]] = []
        while self._free:
            live += await together(self._fork(new, leaf.so_far, point, leaf.episode) for leaf, new, point in forks)
            await together(self._to_next_turn(leaf) for leaf in live)
            live = [leaf for leaf in live if not leaf.done]
            if not live:
                live, forks = await self._roots(self._free), []
                break
            points = self.wave.branching.after_turn(self._frontier(live), self._rng())
            by_id = {leaf.trajectory.id: leaf for leaf in live}
            self._check(points, by_id.keys())
            forks = [(by_id[point.parent], self._new(), point) for point in points]
            self._origins |= {new.id: point for _, new, point in forks}
            self._rounds.append(list(points))
        # The budget is spent: a leaf waits for forks off itself, which copy its state first, and for nothing else.
        copied: dict[int, list[asyncio.Event]] = {leaf.trajectory.id: [] for leaf in live}
        goes_on = [self._to_end(leaf, copied[leaf.trajectory.id]) for leaf in live]
        for leaf, new, point in forks:
            copied[leaf.trajectory.id].append(asyncio.Event())
            goes_on.append(self._fork_to_end(new, leaf.so_far, point, leaf.episode, copied[leaf.trajectory.id][-1]))
        await together(goes_on)

    def _frontier(self, live: Sequence[Leaf]) -> Frontier:
        return Frontier([leaf.so_far for leaf in live], self._free, self._vocabulary, self._rounds, self._origins)

    def _rng(self) -> random.Random:
        return random.Random(
            stable_seed(*self.wave.seeds, self.job.task.id, self.job.first_sample, "branching", len(self._rounds))
        )

    def _check(self, points: Sequence[BranchPoint], known: Iterable[int]) -> None:
        name = type(self.wave.branching).__name__
        if len(points) > self._free:
            raise ValueError(f"{name} opened {len(points)} branches, and the budget allows {self._free} more.")
        strangers = {point.parent for point in points} - set(known)
        if strangers:
            raise ValueError(f"{name} branched off trajectories that it was not shown: {sorted(strangers)}.")

    # --- trajectories -------------------------------------------------------------------------------------------

    async def _roots(self, count: int) -> list[Leaf]:
        return await together([self._root(trajectory) for trajectory in [self._new() for _ in range(count)]])

    async def _root(self, trajectory: Trajectory) -> Leaf:
        opening = partial(self.wave.sampler.environment.open, self.job.task, self.wave.episode_seed(self.job.task))
        episode = await twice(opening)
        self._episodes.append(episode)
        return open_leaf(trajectory, episode)

    async def _fork(
        self, trajectory: Trajectory, parent: Trajectory, point: BranchPoint, episode: Episode | None
    ) -> Leaf:
        leaf = await branch_leaf(parent, point, trajectory, episode, self.wave)
        self._episodes.append(leaf.episode)
        return leaf

    async def _fork_to_end(
        self,
        trajectory: Trajectory,
        parent: Trajectory,
        point: BranchPoint,
        episode: Episode | None = None,
        copied: asyncio.Event | None = None,
    ) -> None:
        leaf = await self._fork(trajectory, parent, point, episode)
        if copied is not None:
            copied.set()
        await self._to_end(leaf)

    async def _root_to_end(self, trajectory: Trajectory) -> None:
        await self._to_end(await self._root(trajectory))

    def _new(self) -> Trajectory:
        sample = self.job.first_sample + self._used
        self._used += 1
        id = stable_seed(*self.wave.seeds, self.job.group, sample)
        return Trajectory(id=id, group=self.job.group, sample=sample, task=self.job.task, prompt=self.prompt)

    async def _to_next_turn(self, leaf: Leaf) -> None:
        """Answer the newest turn and, unless that ends it, say the next one."""
        if leaf.turn is not None:
            await self._listen(leaf)
        if leaf.done:
            await self._conclude(leaf)
        else:
            await leaf.speak(self.wave)

    async def _listen(self, leaf: Leaf) -> None:
        """Have the newest turn answered; where the environment fails, once more by a fresh episode in its state."""
        try:
            await leaf.listen(self.wave)
        except InfrastructureError as error:
            broken = leaf.episode
            try:
                leaf.episode = await restored(leaf.trajectory, leaf.trajectory.turns, self.wave)
            except Unforkable as reason:
                raise InfrastructureError(f"{error}; and its episode could not be rebuilt: {reason}") from error
            self._episodes = [episode for episode in self._episodes if episode is not broken] + [leaf.episode]
            await _close(broken)
            self.wave.failures.rebuilt += 1
            await leaf.listen(self.wave)

    async def _to_end(self, leaf: Leaf, after: Sequence[asyncio.Event] = ()) -> None:
        for event in after:
            await event.wait()
        while not leaf.done:
            await self._to_next_turn(leaf)

    async def _conclude(self, leaf: Leaf) -> None:
        verdict = await twice(partial(leaf.episode.reward, leaf.trajectory))
        trajectory = replace(leaf.trajectory, reward=verdict, judged=time.perf_counter())
        self._finished.append(trajectory)
        self._episodes = [episode for episode in self._episodes if episode is not leaf.episode]
        await _close(leaf.episode)
        if self.wave.on_trajectory is not None:
            self.wave.on_trajectory(trajectory)

    async def _close(self) -> None:
        """What a failure left open."""
        while self._episodes:
            await _close(self._episodes.pop())
