"""Logits in float32 on both sides, where everything else computes in bfloat16."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_cases import ENGINES, mismatch, prompt, run, sampling, setup_for, tiny_policy

from lightning_agentrl.precision import Float32Head, use_float32_head


def without_layers():
    """A bfloat16 policy whose blocks add nothing and whose norms scale nothing: no kernel rounds but the head's."""
    policy = tiny_policy().to(torch.bfloat16)
    for name, parameter in policy.named_parameters():
        if "o_proj" in name or "down_proj" in name:
            parameter.data.zero_()
        elif "norm" in name:
            parameter.data.fill_(1)
    return policy


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_with_a_float32_head_agrees_with_such_a_trainer_and_with_no_other(kind):
    policy = without_layers()
    engine = kind()
    engine.start(replace(setup_for(policy), dtype=torch.bfloat16, float32_head=True))
    try:
        engine.update_weights(policy.state_dict().items(), 0)
        (completion,) = run(engine, [prompt(40)], [sampling(32)])
    finally:
        engine.close()
    assert mismatch(policy, prompt(40), completion) > 1e-3
    use_float32_head(policy)
    assert mismatch(policy, prompt(40), completion) < 1e-5


def test_the_head_computes_in_float32_under_autocast_and_keeps_parameter_name_and_tie():
    policy = tiny_policy(tied=True)
    names = set(policy.state_dict())
    plain = policy(torch.arange(8)[None]).logits
    use_float32_head(policy)
    assert set(policy.state_dict()) == names
    assert policy.lm_head.weight is policy.model.embed_tokens.weight
    assert torch.equal(policy(torch.arange(8)[None]).logits, plain)
    hidden = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = policy.lm_head(hidden)
    assert torch.equal(logits, torch.nn.functional.linear(hidden, policy.lm_head.weight))


def test_gradients_reach_weights_and_states():
    head = Float32Head(8, 5, bias=True).to(torch.bfloat16)
    hidden = torch.randn(3, 8, dtype=torch.bfloat16, requires_grad=True)
    head(hidden).sum().backward()
    assert head.weight.grad is not None
    torch.testing.assert_close(head.weight.grad, hidden.detach().sum(0).expand(5, 8), rtol=1e-2, atol=1e-2)  # bfloat16
    assert hidden.grad is not None


def test_a_head_that_is_more_than_linear_is_refused():
    policy = tiny_policy()
    use_float32_head(policy)
    with pytest.raises(ValueError, match="needs a linear output head"):
        use_float32_head(policy)
