"""Our side of the comparison of rollouts: greedy ones, collected again and again, weights synced before each time.

With ``--policy`` it is the judge of both sides: what a trained policy makes of the validation questions.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from statistics import fmean

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from world import PROMPTS, SIBLINGS, arguments, load
from world_agentrl import data

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import EngineSetup
from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.rollout.sampler import Sampler


def main() -> None:
    """Roll out the same questions in every step; write seconds and tokens."""
    parser = arguments(__doc__)
    parser.add_argument("--policy", type=Path)
    options = parser.parse_args()
    world = load()
    folder = options.policy or world.policy
    policy, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    collector = data(world, options.latency, options.seed).collector
    limits = collector.limits
    engine = collector.engine
    device = torch.device("cpu")
    engine.start(EngineSetup(policy.config, torch.float32, device, limits.max_model_len, 1.0, tokenizer=tokenizer))
    sampler = Sampler(engine, collector.environment, collector.format, Independent(), tokenizer, limits)
    tasks = world.environment.tasks("validation" if options.policy else "train")[: PROMPTS * SIBLINGS]
    jobs = [Job(task, n, 1) for n, task in enumerate(tasks)]
    seconds = []
    for number in range(options.steps):
        engine.update_weights(policy.state_dict().items(), number)
        start = time.perf_counter()
        done = asyncio.run(sampler.collect(jobs, temperature=0.0, seed=0, epoch=number))
        seconds.append(time.perf_counter() - start)
    engine.close()
    completions = [trajectory.token_ids[len(trajectory.prompt) :] for trajectory in done]
    success = fmean(trajectory.outcome >= 1 for trajectory in done)
    options.out.write_text(json.dumps({"seconds": seconds, "completions": completions, "success": success}))


if __name__ == "__main__":
    main()
