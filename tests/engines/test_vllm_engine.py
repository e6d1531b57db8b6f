"""What only the vLLM engine promises. One engine runs at a time; it is rebuilt where a test needs another model."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from engine_cases import (
    TEMPERATURE,
    global_state,
    mismatch,
    perturb,
    prompt,
    run,
    sampling,
    setup_for,
    tiny_policy,
    trainer_logprobs,
)
from transformers import Qwen2Config, Qwen3Config

from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.engines.vllm_backend import top_entropy


@pytest.fixture
def start():
    engines = []

    def started(policy, **options):
        engines.append(VLLMEngine(**options))
        engines[-1].start(setup_for(policy))
        engines[-1].update_weights(policy.state_dict().items(), 0)
        return engines[-1]

    yield started
    for engine in engines:
        engine.close()


@pytest.mark.vllm
@pytest.mark.parametrize(("kind", "tied"), [(Qwen3Config, True), (Qwen2Config, False), (Qwen2Config, True)])
def test_tied_heads_and_biases_follow_every_sync(start, kind, tied):
    policy = tiny_policy(kind, tied)
    engine = start(policy)
    worst = 0.0
    for version in range(3):
        perturb(policy, seed=version)
        engine.update_weights(policy.state_dict().items(), version)
        (completion,) = run(engine, [prompt(20)], [sampling(40)])
        worst = max(worst, mismatch(policy, prompt(20), completion))
    assert worst < 1e-4  # two implementations of float32 attention and matrix products


@pytest.mark.vllm
def test_a_tied_head_may_be_left_out(start):
    policy = tiny_policy(tied=True)
    engine = start(policy)
    perturb(policy, seed=1)
    engine.update_weights(policy.named_parameters(), 1)
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert mismatch(policy, prompt(20), completion) < 1e-4  # as above


@pytest.mark.vllm
def test_keys_and_values_of_old_weights_are_never_used_again(start):
    policy = tiny_policy()
    engine = start(policy)
    long = prompt(100)
    cached = [run(engine, [long], [sampling()])[0].cached_tokens for _ in range(2)]
    perturb(policy, seed=1)
    engine.update_weights(policy.state_dict().items(), 0)  # the same version on purpose
    (completion,) = run(engine, [long], [sampling()])
    assert (*cached, completion.cached_tokens) == (0, 96, 0)
    assert mismatch(policy, long, completion) < 1e-4  # as above


@pytest.mark.vllm
def test_a_second_turn_finds_the_first_in_the_cache(start):
    policy = tiny_policy()
    engine = start(policy)
    (first,) = run(engine, [prompt(50)], [sampling(30)])
    second_prompt = prompt(50) + list(first.token_ids) + prompt(10, seed=1)
    (second,) = run(engine, [second_prompt], [sampling()])
    assert second.cached_tokens == 64  # the whole blocks of 32 among 79 tokens, the newest having no keys yet
    assert mismatch(policy, second_prompt, second) < 1e-4  # as above


@pytest.mark.vllm
def test_entropy_estimates_are_lower_bounds_within_the_mass_of_the_tail(start):
    policy = tiny_policy()
    (completion,) = run(start(policy), [prompt(20)], [sampling(top_logprobs=20)])
    logprobs = trainer_logprobs(policy, prompt(20), completion, TEMPERATURE)
    exact = -(logprobs.exp() * logprobs).sum(1)
    gap = exact - torch.tensor(completion.entropies)
    tail = 1 - logprobs.exp().topk(20).values.sum(1)
    assert bool((gap > -1e-4).all())
    assert bool((gap < tail * math.log(256 - 20) + 1e-4).all())


@pytest.mark.vllm
def test_more_prompt_tokens_than_fit_into_a_step_are_answered_with_seeds(start):
    policy = tiny_policy()
    engine = start(policy)
    prompts = [prompt(300, n) for n in range(40)]  # 12000 tokens, a step takes 8192
    completions = run(engine, prompts, [sampling(4, seed=n) for n in range(40)])
    assert max(map(mismatch, [policy] * 40, prompts, completions)) < 1e-4  # as above


@pytest.mark.vllm
def test_a_preempted_request_samples_what_it_would_have_sampled_alone(start):
    engine = start(tiny_policy(), kv_cache_memory_bytes=3 << 17)  # 768 tokens of keys and values for 8 · 210
    prompts = [prompt(60, n) for n in range(8)]
    together = run(engine, prompts, [sampling(150, seed=n) for n in range(8)])
    (alone,) = run(engine, prompts[7:], [sampling(150, seed=7)])
    assert together[7].token_ids == alone.token_ids


@pytest.mark.vllm
def test_starting_and_closing_leave_the_hosts_global_state_alone(start):
    before = global_state()
    engine = start(tiny_policy())
    during = global_state()
    engine.close()
    assert before == during == global_state()


@pytest.mark.vllm
def test_the_trainers_process_group_survives_the_engine(start):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        engine = start(tiny_policy())
        run(engine, [prompt(20)], [sampling()])
        engine.close()
        value = torch.ones(1)
        dist.all_reduce(value)
        assert value.item() == 1
    finally:
        dist.destroy_process_group()


@pytest.mark.vllm
def test_a_process_group_made_after_the_start_survives_the_engine(start):
    engine = start(tiny_policy())
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        run(engine, [prompt(20)], [sampling()])
        engine.close()
        value = torch.ones(1)
        dist.all_reduce(value)
        assert value.item() == 1
    finally:
        dist.destroy_process_group()


def take_the_sampler_away(worker):
    del worker.worker.model_runner.sampler


@pytest.mark.vllm
def test_an_engine_that_breaks_fails_pending_and_later_requests(start):
    engine = start(tiny_policy())

    async def break_it() -> list[object]:
        pending = asyncio.ensure_future(engine.generate(prompt(20), sampling(400)))
        await asyncio.sleep(0.05)
        engine._thread.call(lambda backend: backend.engine.collective_rpc(take_the_sampler_away))
        first = await asyncio.wait_for(asyncio.gather(pending, return_exceptions=True), timeout=1)
        return first + await asyncio.gather(engine.generate(prompt(20), sampling()), return_exceptions=True)

    errors = asyncio.run(break_it())
    assert ["The vLLM engine stopped" in str(error) for error in errors] == [True, True]


@pytest.mark.vllm
def test_a_model_that_vllm_refuses_is_an_error_that_leaves_the_process_usable(start):
    before = global_state()
    with pytest.raises(RuntimeError, match=r"refused to build.*TransformersEngine"):
        start(tiny_policy(), engine_args={"max_model_len": 10**6})  # the policy's positions end at 512
    assert global_state() == before
    start(tiny_policy())


@pytest.mark.vllm
@pytest.mark.slow
def test_two_ranks_own_an_engine_each_and_need_no_lockstep():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert sorted(result.stdout.split("\n")[:-1]) == ["rank 0 agrees", "rank 1 agrees"]


def test_without_vllm_the_error_names_the_extra_and_the_alternative(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"lightning-agentrl\[vllm\].*TransformersEngine"):
        VLLMEngine().start(setup_for(tiny_policy()))


def test_constructing_the_engine_imports_no_vllm():
    code = "import sys, lightning_agentrl.engines.vllm as e; e.VLLMEngine(); assert 'vllm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compilation_is_refused_on_a_cpu():
    with pytest.raises(ValueError, match="enforce_eager=True"):
        VLLMEngine(enforce_eager=False).start(setup_for(tiny_policy()))


def test_an_engine_for_several_ranks_needs_their_process_group():
    with pytest.raises(ValueError, match="process group"):
        VLLMEngine().start(replace(setup_for(tiny_policy()), distributed=True))


def test_a_block_size_that_no_kernel_takes_is_refused():
    with pytest.raises(ValueError, match="multiple of 16, got 20"):
        VLLMEngine(block_size=20)


def test_the_entropy_of_a_known_distribution():
    # top 2 of (1/2, 1/4, 1/8, 1/8): 1/2 ln 2 + 1/4 ln 4 + tail 1/4 ln 4 = 3/2 ln 2
    assert top_entropy([math.log(0.5), math.log(0.25)]) == pytest.approx(1.5 * math.log(2))


def test_the_entropy_of_a_certain_token_is_zero():
    assert top_entropy([0.0, -math.inf]) == 0.0
