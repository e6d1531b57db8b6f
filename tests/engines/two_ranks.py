"""Runs under torchrun: every rank starts its own vLLM engine, gets an unequal load, and compares with its policy."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from engine_cases import mismatch, prompt, run, sampling, setup_for, tiny_policy

from lightning_agentrl.engines.vllm import VLLMEngine


def main() -> None:
    """Exit with an error unless log-probs agree and the process group survives."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    policy = tiny_policy()
    engine = VLLMEngine()
    engine.start(replace(setup_for(policy), distributed=True))
    engine.update_weights(policy.state_dict().items(), 0)
    prompts = [prompt(20 + n, n) for n in range(2 + 5 * rank)]
    completions = run(engine, prompts, [sampling(8 + 30 * rank, seed=n) for n in range(len(prompts))])
    assert max(mismatch(policy, ids, out) for ids, out in zip(prompts, completions, strict=True)) < 1e-4
    engine.close()
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == 2
    print(f"rank {rank} agrees\n", end="", flush=True)  # noqa: T201 - what the test reads
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
