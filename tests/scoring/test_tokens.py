"""Log-probs and entropies against the plainest forward there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_agentrl.policy import load_config, load_policy
from lightning_agentrl.scoring import score
from lightning_agentrl.testing import rollouts, tiny_policy
from lightning_agentrl.types import RolloutBatch


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = tiny_policy(tmp_path_factory.mktemp("policy"))
    return load_policy(folder, load_config(folder), "float32")


def ragged() -> RolloutBatch:
    batch = rollouts([[3, 2], [1], [4, 1, 2], [2]], rewards=[0.0] * 4, prompt=5)
    ids = torch.randint(0, 300, batch.input_ids.shape, generator=torch.Generator().manual_seed(0))
    return batch.__class__(**{**batch.__dict__, "input_ids": ids})


def reference(policy: nn.Module, batch: RolloutBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One unpadded row at a time, one token at a time."""
    logprobs, entropies = torch.zeros(batch.input_ids.shape), torch.zeros(batch.input_ids.shape)
    for row in range(len(batch)):
        length = int(batch.attention_mask[row].sum())
        logits = policy(input_ids=batch.input_ids[row : row + 1, :length]).logits[0] / temperature
        for column in batch.action_mask[row].nonzero()[:, 0].tolist():
            distribution = torch.distributions.Categorical(logits=logits[column - 1])
            logprobs[row, column] = distribution.log_prob(batch.input_ids[row, column])
            entropies[row, column] = distribution.entropy()
    return logprobs, entropies


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("max_tokens", [None, 25, 1])
def test_scores_equal_the_loop(policy: nn.Module, temperature: float, max_tokens: int | None) -> None:
    batch = ragged()
    with torch.no_grad():
        scores = score(policy, batch, temperature=temperature, entropies=True, max_tokens=max_tokens)
        logprobs, entropies = reference(policy, batch, temperature)
    torch.testing.assert_close(scores.logprobs, logprobs)
    torch.testing.assert_close(scores.entropies, entropies)


def test_chunks_give_the_same_gradient(policy: nn.Module) -> None:
    def gradient(max_tokens: int | None) -> torch.Tensor:
        policy.zero_grad()
        score(policy, ragged(), temperature=1.0, max_tokens=max_tokens).logprobs.sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    whole, chunked = gradient(None), gradient(20)
    assert (whole - chunked).norm() <= 1e-5 * whole.norm()


def test_entropies_are_not_computed_unless_asked_for(policy: nn.Module) -> None:
    assert score(policy, ragged(), temperature=1.0).entropies is None


def test_a_batch_without_action_tokens_still_has_a_graph(policy: nn.Module) -> None:
    batch = ragged()
    empty = batch.__class__(**{**batch.__dict__, "action_mask": torch.zeros_like(batch.action_mask)})
    logprobs = score(policy, empty, temperature=1.0).logprobs
    logprobs.sum().backward()
    assert not logprobs.any()


def test_dropout_is_switched_off_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    folder = tiny_policy(tmp_path)
    config = load_config(folder)
    config.attention_dropout = 0.5
    config.save_pretrained(folder)
    assert load_config(folder).attention_dropout == 0.0


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_policy_folder_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_config(source)


def test_a_folder_without_a_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_config(str(tmp_path))
