"""Prefix trees against padded rows: scores, loss and gradients, on random trees of rows, branches and probes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor
from transformers import PreTrainedModel
from tree_batches import SOME, budgets, seeds, tree_batch

from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.objective import Objective
from lightning_agentrl.scoring import Scores, score
from lightning_agentrl.types import RolloutBatch

RANDOM = settings(SOME, suppress_health_check=[HealthCheck.function_scoped_fixture])  # the policy is not changed
ATTENTIONS = ["prefix_tree", "sdpa", "eager"]
OBJECTIVE = Objective(ClippedLoss(ratio="turn"))


def credited(batch: RolloutBatch, seed: int) -> RolloutBatch:
    """With advantages, weights and an old policy such that some turns are clipped."""
    generator = torch.Generator().manual_seed(seed)
    advantages, weights, drift = torch.randn(3, *batch.input_ids.shape, generator=generator)
    return replace(batch, advantages=advantages * batch.action_mask, loss_weights=weights.abs(), old_logprobs=drift)


def update(policy: PreTrainedModel, batch: RolloutBatch, max_tokens: int | None, trees: bool) -> tuple[Scores, Tensor]:
    """Scores and loss; gradients are left with the policy."""
    policy.zero_grad()
    scores = score(policy, batch, temperature=0.8, entropies=True, max_tokens=max_tokens, trees=trees)
    assert batch.old_logprobs is not None
    assert batch.loss_weights is not None
    batch = replace(batch, old_logprobs=scores.logprobs.detach() + 0.2 * batch.old_logprobs)
    loss = (OBJECTIVE(scores.logprobs, batch)[0] * batch.loss_weights).sum()
    loss.backward()
    return scores, loss.detach()


def gradients(policy: PreTrainedModel) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    assert found.keys() == dict(policy.named_parameters()).keys()
    return found


def assert_equal_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    # A gradient that is zero on paper is rounding noise in both: measured against the whole gradient.
    noise = 1e-7 * float(torch.stack([tensor.norm() for tensor in expected.values()]).norm())
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= 1e-5 * tensor.norm() + noise, name


@pytest.mark.parametrize("attention", ATTENTIONS)
@RANDOM
@given(seeds, budgets)
def test_scores_equal_those_of_padded_rows(
    policy: PreTrainedModel, attention: str, seed: int, max_tokens: int | None
) -> None:
    policy.set_attn_implementation(attention)
    batch = tree_batch(seed)
    with torch.no_grad():
        found = score(policy, batch, temperature=0.8, entropies=True, answers=True, max_tokens=max_tokens, trees=True)
        expected = score(policy, batch, temperature=0.8, entropies=True, answers=True, trees=False)
    for one, other in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("attention", ATTENTIONS)
@RANDOM
@given(seeds, budgets)
def test_loss_and_gradients_equal_those_of_padded_rows(
    policy: PreTrainedModel, attention: str, seed: int, max_tokens: int | None
) -> None:
    policy.set_attn_implementation(attention)
    batch = credited(tree_batch(seed), seed)
    _, expected_loss = update(policy, batch, None, trees=False)
    expected = gradients(policy)
    _, loss = update(policy, batch, max_tokens, trees=True)
    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-6)
    assert_equal_gradients(gradients(policy), expected)


@RANDOM
@given(seeds)
def test_the_order_of_rows_changes_nothing(policy: PreTrainedModel, seed: int) -> None:
    batch = tree_batch(seed)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        plain = score(policy, batch, temperature=0.8, answers=True)
        shuffled = score(policy, batch.select(order), temperature=0.8, answers=True)
    torch.testing.assert_close(shuffled.logprobs, plain.logprobs[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        shuffled.answer_logprobs, plain.answer_logprobs[order], rtol=0, atol=1e-5, equal_nan=True
    )
    assert shuffled.load == plain.load


@pytest.mark.parametrize("max_tokens", [None, 60])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradient_checkpointing_changes_nothing(
    policy: PreTrainedModel, attention: str, max_tokens: int | None
) -> None:
    batch = credited(tree_batch(6), 6)
    update(policy, batch, None, trees=False)
    expected = gradients(policy)
    policy.set_attn_implementation(attention)
    policy.gradient_checkpointing_enable({"use_reentrant": False})
    update(policy, batch, max_tokens, trees=True)
    assert_equal_gradients(gradients(policy), expected)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("mixed", [True, False], ids=["bf16-mixed", "bf16-true"])
def test_half_precision_errs_no_more_than_on_padded_rows(policy: PreTrainedModel, attention: str, mixed: bool) -> None:
    batch = credited(tree_batch(6), 6)
    exact, _ = update(policy, batch, None, trees=False)
    policy.set_attn_implementation(attention)
    if not mixed:
        policy.to(torch.bfloat16)  # type: ignore[call-arg]
    errors = []
    for trees in (True, False):
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            scores, _ = update(policy, batch, None, trees)
        assert scores.logprobs.dtype == torch.float32
        errors.append((scores.logprobs - exact.logprobs).norm())
    assert errors[0] <= 1.5 * errors[1]  # another order of summation errs in other places


@pytest.mark.filterwarnings("ignore:flex_attention called without", "ignore:.*torch.jit:DeprecationWarning")
def test_flex_attention_gives_the_same_scores(policy: PreTrainedModel) -> None:
    batch = tree_batch(6)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # CPUs have no backward, and compiling takes long
        expected = score(policy, batch, temperature=1.0, trees=True)
        policy.set_attn_implementation("flex_attention")
        found = score(policy, batch, temperature=1.0, trees=True)
    torch.testing.assert_close(found.logprobs, expected.logprobs, rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_flex_attention_gives_the_same_gradients_on_a_gpu(policy: PreTrainedModel) -> None:
    policy.cuda()
    batch = credited(tree_batch(6), 6).to("cuda")
    update(policy, batch, None, trees=False)
    expected = gradients(policy)
    policy.set_attn_implementation("flex_attention")
    update(policy, batch, None, trees=True)
    for name, tensor in gradients(policy).items():
        assert (tensor - expected[name]).norm() <= 1e-2 * expected[name].norm()  # TF32 inside the kernel


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
def test_a_second_forward_is_recomputed_in_the_backward(policy: PreTrainedModel, trees: bool) -> None:
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    def activations(max_tokens: int | None) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            score(policy, tree_batch(6), temperature=1.0, max_tokens=max_tokens, trees=trees)
        return sum(kept)

    assert activations(8) < 0.1 * activations(None)


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
def test_no_tensor_of_tokens_times_vocabulary_is_kept(policy: PreTrainedModel, trees: bool) -> None:
    batch = tree_batch(6)
    vocabulary = policy.config.vocab_size
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        score(policy, batch, temperature=1.0, entropies=True, trees=trees)
    weights = {p.shape for p in policy.parameters()} | {p.T.shape for p in policy.parameters() if p.ndim == 2}
    assert kept
    assert not [shape for shape in kept if vocabulary in shape and shape not in weights]
