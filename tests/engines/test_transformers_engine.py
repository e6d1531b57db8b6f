"""What only the Transformers engine promises."""

from __future__ import annotations

import pytest
import torch
from engine_cases import (
    TEMPERATURE,
    global_state,
    mismatch,
    prompt,
    run,
    sampling,
    setup_for,
    tiny_policy,
    trainer_logprobs,
)
from transformers import Qwen2Config

from lightning_agentrl.engines.transformers import TransformersEngine


@pytest.fixture
def start():
    engines = []

    def started(policy, **options):
        engines.append(TransformersEngine(**options))
        engines[-1].start(setup_for(policy))
        return engines[-1]

    yield started
    for engine in engines:
        engine.close()


def test_entropies_are_exact(start, policy):
    engine = start(policy)
    engine.update_weights(policy.state_dict().items(), 0)
    (completion,) = run(engine, [prompt(20)], [sampling(top_logprobs=1)])
    logprobs = trainer_logprobs(policy, prompt(20), completion, TEMPERATURE)
    torch.testing.assert_close(torch.tensor(completion.entropies), -(logprobs.exp() * logprobs).sum(1))


@pytest.mark.parametrize("tied", [False, True])
def test_a_qwen2_with_biases_agrees_with_the_trainer(start, tied):
    policy = tiny_policy(Qwen2Config, tied)
    engine = start(policy)
    engine.update_weights(policy.state_dict().items(), 0)
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert mismatch(policy, prompt(20), completion) < 1e-4  # decoding one token at a time against one forward


def test_a_tied_head_may_be_left_out(start):
    policy = tiny_policy(tied=True)
    engine = start(policy)
    engine.update_weights(policy.named_parameters(), 0)
    (completion,) = run(engine, [prompt(20)], [sampling()])
    assert mismatch(policy, prompt(20), completion) < 1e-4  # as above


def test_a_missing_weight_is_named(start, policy):
    weights = {name: tensor for name, tensor in policy.state_dict().items() if name != "lm_head.weight"}
    with pytest.raises(ValueError, match=r"lack lm_head\.weight"):
        start(policy).update_weights(weights.items(), 0)


def test_an_unknown_weight_is_named(start, policy):
    with pytest.raises(ValueError, match=r"no weight lora_A"):
        start(policy).update_weights([("lora_A", torch.zeros(1))], 0)


def test_the_engine_owns_its_weights(start):
    policy = tiny_policy()
    engine = start(policy)
    engine.update_weights(policy.state_dict().items(), 0)
    before = run(engine, [prompt(20)], [sampling()])
    for parameter in policy.parameters():
        parameter.data.zero_()
    assert run(engine, [prompt(20)], [sampling()]) == before


def test_more_requests_than_rows_are_all_answered(start, policy):
    engine = start(policy, max_batch_size=2)
    engine.update_weights(policy.state_dict().items(), 0)
    prompts = [prompt(10 + n, n) for n in range(7)]
    completions = run(engine, prompts, [sampling(5 + n, seed=n) for n in range(7)])
    assert [len(out.token_ids) for out in completions] == list(range(5, 12))
    assert max(map(mismatch, [policy] * 7, prompts, completions)) < 1e-4  # as above


def test_starting_and_closing_leave_the_hosts_global_state_alone(policy):
    before = global_state()
    engine = TransformersEngine()
    engine.start(setup_for(policy))
    engine.close()
    assert global_state() == before


def test_a_closed_engine_can_be_closed_and_started_again(policy):
    engine = TransformersEngine()
    for _ in range(2):
        engine.start(setup_for(policy))
        engine.close()
        engine.close()
    assert not engine.started


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        TransformersEngine(max_batch_size=0)
