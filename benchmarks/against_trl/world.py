"""What both sides train end to end: the made-up world, its cold-started policy, its search tool and its verdict."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.rewards.exact_match import exact_match
from lightning_agentrl.tools.retrieval import BM25
from lightning_agentrl.tools.search import SearchTool

PROMPTS, SIBLINGS = 16, 8
"""Of a step."""
TURNS, COMPLETION = 6, 256
"""Most turns, and most tokens of all of them with what tools return."""
LEARNING_RATE, BETAS = 5e-4, (0.9, 0.99)
CONFIGURATION = ["-c", "base", "-c", "environment/made_up_world", "-c", "quickstart"]


@dataclass(frozen=True)
class World:
    """Questions, and what they are answered with."""

    environment: SearchQA
    policy: Path
    """Hugging Face folder."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What both sides are told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per search")
    parser.add_argument("--coroutine", action="store_true", help="give TRL the search as a coroutine")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; the policy goes into a folder beside it")
    return parser


def load() -> World:
    """Make the world and the cold-started policy, unless they are there."""
    cli = AgentRLCLI(CONFIGURATION, run=False)
    folder = cli.warm_start()
    environment = cli.datamodule.environment
    assert isinstance(environment, SearchQA)
    return World(environment, folder)


def search_function(world: World, latency: float, coroutine: bool) -> Callable[[str], Any]:
    """The search as TRL takes it: a plain function, or a coroutine, either with a docstring that describes it."""
    assert world.environment.data_dir is not None
    tool = SearchTool(BM25(world.environment.data_dir / "corpus.jsonl").ranking, top_k=world.environment.top_k)

    def search(query: str) -> str:
        time.sleep(latency)
        return tool.lookup(query).text

    async def search_later(query: str) -> str:
        await asyncio.sleep(latency)
        return tool.lookup(query).text

    chosen: Callable[[str], Any] = search_later if coroutine else search
    chosen.__name__, chosen.__doc__ = "search", f"{tool.description}\n\nArgs:\n    query: What to search for."
    return chosen


def verdict(said: str, answers: Sequence[str]) -> float:
    """1 where the last turn gives an accepted answer, else 0."""
    found = re.findall(r"<answer>(.*?)</answer>", said, re.DOTALL)
    return exact_match(found[-1].strip() if found else None, answers)
