"""How fast are text games, and how much memory do they take? Steps per second, with several games in flight.

    .venv/bin/python benchmarks/text_games.py --games 8 --processes 2 --kind coin_collector --level 5

Each game is played through the same `Environment` as in training, by a policy that gives random admissible commands and
takes no time. Steps are counted over ``--seconds``; games that end are begun anew, and that is part of the time.
"""

from __future__ import annotations

import asyncio
import os
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from random import Random
from statistics import median, quantiles

from lightning_agentrl.environments.text_games import TextEpisode
from lightning_agentrl.environments.textworld import TextWorldGames
from lightning_agentrl.environments.textworld.game_set import GameSet
from lightning_agentrl.environments.workers import Workers
from lightning_agentrl.types import Action, Task


async def play(world: TextWorldGames, task: Task, until: float, latencies: list[float], rng: Random) -> None:
    """Begin a game again and again until the time is over; the seconds of each step."""
    while time.perf_counter() < until:
        episode = await world.open(task, 0)
        assert isinstance(episode, TextEpisode)
        for _ in range(20):
            command = rng.choice(episode.state["commands"])
            start = time.perf_counter()
            heard = await episode.step(Action(f"<action>{command}</action>"))
            latencies.append(time.perf_counter() - start)
            if heard.done or time.perf_counter() >= until:
                break
        await episode.close()


async def hold(world: TextWorldGames, task: Task, count: int) -> float:
    """MB that a game takes in its worker, from holding so many."""
    first = [await world.open(task, 0) for _ in range(world.workers.processes)]
    before = memory(world)
    more = [await world.open(task, 0) for _ in range(count)]
    grown = (memory(world) - before) / count
    for episode in [*first, *more]:
        await episode.close()
    return grown


def memory(world: TextWorldGames) -> float:
    """Resident MB of all workers."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in world._stage.pool.pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def arguments() -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="coin_collector")
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--games", type=int, default=8, help="in flight at the same time")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--data-dir", type=Path, default=Path("runs/data/benchmark_text_games"))
    return parser.parse_args()


def main() -> None:
    """Make the games, warm up, measure, print."""
    options = arguments()
    games = GameSet(options.kind, (options.level,), train=options.games, validation=1)
    world = TextWorldGames(options.data_dir, games, workers=Workers(options.processes))
    world.prepare()
    tasks = world.tasks("train")

    async def all_of_them(seconds: float) -> list[float]:
        latencies: list[float] = []
        until = time.perf_counter() + seconds
        await asyncio.gather(*(play(world, task, until, latencies, Random(task.id)) for task in tasks))
        return latencies

    try:
        asyncio.run(all_of_them(2.0))
        latencies = asyncio.run(all_of_them(options.seconds))
        each = memory(world) / options.processes
        game = asyncio.run(hold(world, tasks[0], 64))
    finally:
        world.close()
    load = os.getloadavg()[0]
    print(f"{options.kind} level {options.level}, {options.games} games, {options.processes} workers, load {load:.1f}")
    print(f"{len(latencies) / options.seconds:.0f} steps/s")
    print(f"step: median {median(latencies) * 1e3:.1f} ms, p95 {quantiles(latencies, n=20)[-1] * 1e3:.1f} ms")
    print(f"memory: {each:.0f} MB a worker, {game:.2f} MB a game")


if __name__ == "__main__":
    main()
