"""Does the time that tools take hide behind generation? The same rollouts with instant and with slow searches, in turn.

    .venv/bin/python benchmarks/tool_latency.py --latency 0.05 --repeats 9 [--policy FOLDER]

Real vLLM, on the made-up world the warm-started tiny policy, which seldom searches twice, or a trained one that
`agentrl export` wrote; all trajectories at once. Each round syncs weights before either candidate, so that neither
finds the other's prompts in the prefix cache, and gives both the same seeds. Compared are medians of the seconds of a
whole collection. Printed beside them is what waiting in lock step would cost: the latency times the turns of the
longest trajectory that search.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from statistics import fmean, median

import torch
from timing import Seconds, ratios, spread
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.engines.base import EngineSetup
from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing.retriever import SlowRetriever
from lightning_agentrl.tools.retrieval import BM25
from lightning_agentrl.types import Trajectory

LIMITS = Limits(max_turns=6, max_turn_tokens=48, max_model_len=512)


def searches(trajectory: Trajectory) -> int:
    """Turns that waited for a search."""
    return sum(any(call.name == "search" for call in turn.tool_calls) for turn in trajectory.turns)


def main() -> None:
    """Alternate, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds per search")
    parser.add_argument("--policy", type=Path, help="Hugging Face folder instead of the warm-started policy")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, help="JSON file for the raw seconds")
    options = parser.parse_args()
    cli = AgentRLCLI(["-c", "base", "-c", "quickstart", "-c", "environment/made_up_world"], run=False)
    cli.datamodule.environment.prepare()
    folder = options.policy or cli.warm_start()
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    world = cli.datamodule.environment
    assert isinstance(world, SearchQA)
    assert world.data_dir is not None
    corpus = BM25(world.data_dir / "corpus.jsonl")
    engine = VLLMEngine()
    device = torch.device("cpu")
    engine.start(EngineSetup(policy.config, torch.float32, device, LIMITS.max_model_len, 1.0, tokenizer=tokenizer))
    samplers = {}
    for name, seconds in {"instant": 0.0, "slow": options.latency}.items():
        environment = SearchQA(world.data_dir, top_k=1, retriever=SlowRetriever(corpus, seconds))
        samplers[name] = Sampler(engine, environment, HermesFormat(), Independent(), tokenizer, LIMITS)
    jobs = [Job(task, n, options.group_size) for n, task in enumerate(world.tasks("train")[: options.prompts])]
    seconds: Seconds = {name: [] for name in samplers}
    last: dict[str, list[Trajectory]] = {}
    for number in range(options.repeats + 1):  # the first round warms up and is dropped
        for name, sampler in samplers.items():
            engine.update_weights(policy.state_dict().items(), number)
            start = time.perf_counter()
            last[name] = asyncio.run(sampler.collect(jobs, temperature=1.0, seed=0, epoch=number))
            if number:
                seconds[name].append(time.perf_counter() - start)
    engine.close()
    calls = {name: [searches(trajectory) for trajectory in done] for name, done in last.items()}
    print(f"{options.prompts * options.group_size} trajectories, load average {os.getloadavg()[0]:.1f}")
    for name, values in seconds.items():
        many = f"{fmean(calls[name]):.2f} searches per trajectory, {max(calls[name])} at most"
        print(f"{name}: {spread(values, ' s')}, {many}")
    print(f"ratio of medians {median(seconds['slow']) / median(seconds['instant']):.3f}")
    print(f"round by round {spread(ratios(seconds['slow'], seconds['instant']))}")
    added = options.latency * max(calls["slow"]) / median(seconds["instant"])
    print(f"in lock step it would be at least {1 + added:.3f}")
    if options.out:
        options.out.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
