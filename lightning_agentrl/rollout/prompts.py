"""Which prompts an epoch rolls out: a function of seed and epoch alone, so that a resumed run keeps the order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightning_agentrl.rollout.jobs import Job, stable_seed
from lightning_agentrl.types import Task


@dataclass(frozen=True)
class PromptOrder:
    """Passes over the tasks, each in an order of its own; every rank takes its share of an epoch."""

    tasks: Sequence[Task]
    prompts_per_epoch: int
    group_size: int
    seed: int
    rank: int = 0
    ranks: int = 1

    def jobs(self, epoch: int) -> list[Job]:
        """This rank's prompts of an epoch."""
        seen: Counter[int] = Counter()
        jobs = []
        for number, place in self._numbers(epoch):
            # Where an epoch reaches into the next pass, a task may come again.
            jobs.append(Job(self.tasks[place], number, self.group_size, seen[place] * self.group_size))
            seen[place] += 1
        return jobs[self.rank :: self.ranks]

    def more(self, epoch: int) -> Iterator[Job]:
        """Further prompts for the same epoch, should some of the first teach nothing; none comes twice."""
        numbers = self._numbers(epoch)
        used = {place for _, place in numbers}
        spare = [place for place in self._order("more", epoch) if place not in used]
        after = numbers[-1][0] + 1
        for offset in range(self.rank, len(spare), self.ranks):
            yield Job(self.tasks[spare[offset]], after + offset, self.group_size)

    def _numbers(self, epoch: int) -> list[tuple[int, int]]:
        """Running number and place of each prompt of the epoch, over all ranks."""
        first = epoch * self.prompts_per_epoch
        orders: dict[int, list[int]] = {}
        result = []
        for number in range(first, first + self.prompts_per_epoch):
            lap, place = divmod(number, len(self.tasks))
            if lap not in orders:
                orders[lap] = self._order(lap)
            result.append((number, orders[lap][place]))
        return result

    def _order(self, *of: object) -> list[int]:
        count = len(self.tasks)
        return random.Random(stable_seed(self.seed, *of)).sample(range(count), count)
