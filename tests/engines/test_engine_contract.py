"""What every rollout engine promises. The vLLM half runs with the marker ``vllm``."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest
import torch
from engine_cases import (
    CONTEXT,
    ENGINES,
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


def test_logprobs_equal_the_trainers_after_every_sync(engine, policy):
    prompts = [prompt(length, seed=length) for length in (1, 7, 40, 100)]
    worst = 0.0
    for version in range(3):
        perturb(policy, seed=version)
        engine.update_weights(policy.state_dict().items(), version)
        completions = run(engine, prompts, [sampling(seed=i) for i in range(4)])
        worst = max(worst, *(mismatch(policy, ids, out) for ids, out in zip(prompts, completions, strict=True)))
    assert worst < 1e-4  # two implementations of float32 attention and matrix products


def test_logprobs_are_those_of_the_tempered_distribution(engine, policy):
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert mismatch(policy, prompt(20), completion, TEMPERATURE) < 1e-4 < mismatch(policy, prompt(20), completion, 1.0)


def test_greedy_takes_the_likeliest_token_and_reports_untempered_logprobs(engine, policy):
    (completion,) = run(engine, [prompt(20)], [sampling(temperature=0.0)])
    logprobs = trainer_logprobs(policy, prompt(20), completion, 1.0)
    assert logprobs.argmax(1).tolist() == list(completion.token_ids)
    torch.testing.assert_close(logprobs.max(1).values, torch.tensor(completion.logprobs), atol=1e-4, rtol=0)


def test_a_seed_gives_the_same_tokens_whatever_the_batch_mates(engine):
    (alone,) = run(engine, [prompt(20)], [sampling(seed=5)])
    prompts = [prompt(length, seed=length) for length in (3, 50, 90)]
    params = [sampling(6 + n, seed=n) for n in range(3)]
    together = run(engine, [*prompts, prompt(20)], [*params, sampling(seed=5)])
    assert together[-1].token_ids == alone.token_ids


def test_two_seeds_give_different_tokens(engine):
    one, other = run(engine, [prompt(20)] * 2, [sampling(seed=2**40), sampling(seed=2**40 + 1)])
    assert one.token_ids != other.token_ids


def test_without_a_seed_samples_differ(engine):
    one, other = run(engine, [prompt(20)] * 2, [sampling(seed=None)] * 2)
    assert one.token_ids != other.token_ids


def test_tokens_are_drawn_from_the_distribution_that_is_reported(engine, policy):
    completions = run(engine, [prompt(20)] * 400, [sampling(max_tokens=1, seed=i) for i in range(400)])
    probs = trainer_logprobs(policy, prompt(20), completions[0], TEMPERATURE)[0].exp()
    likeliest = int(probs.argmax())
    share = sum(out.token_ids[0] == likeliest for out in completions) / 400
    deviation = float(probs.max() * (1 - probs.max()) / 400) ** 0.5
    assert abs(share - float(probs.max())) < 5 * deviation


def test_the_stop_token_ends_the_completion_and_is_part_of_it(engine):
    stops = tuple(range(64))  # a quarter of the vocabulary: 200 tokens without one are out of the question
    (completion,) = run(engine, [prompt(20)], [replace(sampling(200), stop_token_ids=stops)])
    assert completion.finish_reason == "stop"
    assert [token in stops for token in completion.token_ids] == [False] * (len(completion.token_ids) - 1) + [True]


def test_only_stop_tokens_end_a_completion_not_the_configs_end_of_text(engine):
    (completion,) = run(engine, [prompt(20)], [sampling(40)])  # half of the vocabulary is an end of text
    assert len(completion.token_ids) == 40


def test_stop_strings_need_a_tokenizer(engine):
    with pytest.raises(ValueError, match=r"needs a tokenizer to stop at </a>; pass EngineSetup\.tokenizer"):
        run(engine, [prompt(20)], [sampling(stop_strings=("</a>",))])


def test_a_cut_by_max_tokens_is_reported_as_length(engine):
    (completion,) = run(engine, [prompt(20)], [sampling(5)])
    assert (len(completion.token_ids), completion.finish_reason) == (5, "length")


def test_a_cut_by_the_context_is_reported_as_length(engine):
    (completion,) = run(engine, [prompt(CONTEXT - 12)], [sampling(100)])
    assert (len(completion.token_ids), completion.finish_reason) == (12, "length")


def test_a_prompt_without_room_is_refused_with_both_lengths(engine):
    with pytest.raises(ValueError, match=f"600 tokens.*{CONTEXT}"):
        run(engine, [prompt(600)], [sampling()])


def test_another_temperature_is_refused(engine):
    with pytest.raises(ValueError, match=r"temperature 0\.7.*got 0\.9"):
        run(engine, [prompt(20)], [sampling(temperature=0.9)])


def test_entropies_are_absent_unless_asked_for(engine):
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert completion.entropies is None


def test_generation_overlaps_with_sleeping_tasks(engine):
    async def trajectory(number: int) -> None:
        for _ in range(2):
            await engine.generate(prompt(20, number), sampling(4))
            await asyncio.sleep(0.3)

    async def eight() -> None:
        await asyncio.gather(*map(trajectory, range(8)))

    start = time.monotonic()
    asyncio.run(eight())
    assert time.monotonic() - start < 2.4  # one after the other: 8 · 2 · 0.3 s = 4.8 s in sleeps alone


def test_the_event_loop_keeps_running_while_tokens_are_sampled(engine):
    async def count_ticks() -> int:
        task = asyncio.ensure_future(engine.generate(prompt(20), sampling(100)))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(count_ticks()) > 10


def test_cancelling_a_task_frees_the_engine_for_a_sync(engine, policy):
    async def cancel() -> None:
        task = asyncio.ensure_future(engine.generate(prompt(20), sampling(480)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancel())
    engine.update_weights(policy.state_dict().items(), 1)  # would raise if the request were still in flight


def test_weights_do_not_change_under_a_running_request(engine, policy):
    async def sync_too_early() -> None:
        task = asyncio.ensure_future(engine.generate(prompt(20), sampling(480)))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="1 requests are being generated"):
            engine.update_weights(policy.state_dict().items(), 1)
        task.cancel()

    asyncio.run(sync_too_early())


def test_weights_are_gathered_on_the_callers_thread(engine, policy):
    threads = set()

    def weights():
        for name, tensor in policy.state_dict().items():
            threads.add(threading.current_thread())
            yield name, tensor

    engine.update_weights(weights(), 1)
    assert threads == {threading.current_thread()}


def test_an_engine_survives_weights_that_fail_halfway(engine, policy):
    def weights():
        yield next(iter(policy.state_dict().items()))
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        engine.update_weights(weights(), 1)
    engine.update_weights(policy.state_dict().items(), 2)
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert mismatch(policy, prompt(20), completion) < 1e-4


def test_generation_and_syncs_leave_the_hosts_global_state_alone(engine, policy):
    before = global_state()
    engine.update_weights(policy.state_dict().items(), 1)
    run(engine, [prompt(20)] * 2, [sampling(seed=None), sampling(seed=1)])
    assert global_state() == before


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_that_was_not_started_says_so(kind):
    with pytest.raises(RuntimeError, match="call start first"):
        run(kind(), [prompt(20)], [sampling()])


def test_a_running_engine_is_not_started_twice(engine, policy):
    with pytest.raises(RuntimeError, match="close it before"):
        engine.start(setup_for(policy))


def test_a_temperature_of_zero_at_the_start_is_refused():
    for kind in ENGINES:
        with pytest.raises(ValueError, match=r"must be positive.*got 0\.0"):
            kind.values[0]().start(setup_for(tiny_policy(), temperature=0.0))
