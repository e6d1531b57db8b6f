"""Answer log-probs: one pass over the trees of rows and probes equals a forward of its own for every turn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_agentrl.credit.gains import information_gains
from lightning_agentrl.scoring.scores import answer_logprobs, score
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def probed(prefix: int = 2) -> RolloutBatch:
    """Ragged rows; one has no answer, one two aliases of unequal length, behind ``prefix`` tokens of template."""
    batch = rollouts([[3, 2], [1], [4, 1, 2], [2, 2]], rewards=[0.0] * 4, prompt=5, answered=[True, True, True, False])
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 300, batch.input_ids.shape, generator=generator)
    probes = torch.randint(0, 300, (4, 2, prefix + 3), generator=generator)
    scored = torch.zeros(probes.shape, dtype=torch.bool)
    scored[0, 0, prefix:] = scored[2, 0, prefix : prefix + 2] = scored[3, :, prefix:] = True
    scored[3, 1, -1] = False
    return replace(batch, input_ids=ids, probe_ids=probes, probe_scored=scored)


def reference(policy: nn.Module, batch: RolloutBatch, temperature: float) -> torch.Tensor:
    """A forward for every row, turn and alias, a token at a time."""
    assert batch.probe_ids is not None
    assert batch.probe_scored is not None
    result = torch.full(batch.turn_ends.shape, math.nan)
    for row, ends in enumerate(batch.turn_ends.tolist()):
        for turn, end in enumerate(ends):
            means = []
            for alias in range(batch.probe_ids.shape[1]):
                scored = batch.probe_scored[row, alias].nonzero()[:, 0].tolist()
                if end < 0 or not scored:
                    continue
                ids = torch.cat([batch.input_ids[row, :end], batch.probe_ids[row, alias]])
                logits = policy(input_ids=ids[None]).logits[0] / temperature
                terms = [logits[end + place - 1].log_softmax(-1)[ids[end + place]].item() for place in scored]
                means.append(sum(terms) / len(terms))
            if means:
                result[row, turn] = max(means)
    return result


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
@pytest.mark.parametrize("prefix", [2, 0], ids=["template", "bare answer"])
@pytest.mark.parametrize("max_tokens", [None, 60, 1])
def test_answers_alone_equal_a_forward_per_turn(
    policy: nn.Module, prefix: int, max_tokens: int | None, trees: bool
) -> None:
    batch = probed(prefix)
    with torch.no_grad():
        found = answer_logprobs(policy, batch, temperature=0.7, max_tokens=max_tokens, trees=trees)
        expected = reference(policy, batch, 0.7)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("trees", [True, False], ids=["trees", "rows"])
@pytest.mark.parametrize("max_tokens", [None, 60])
def test_answers_beside_logprobs_equal_both_alone(policy: nn.Module, max_tokens: int | None, trees: bool) -> None:
    batch = probed()
    with torch.no_grad():
        both = score(policy, batch, temperature=0.7, answers=True, max_tokens=max_tokens, trees=trees)
        logprobs = score(policy, batch, temperature=0.7).logprobs
        answers = answer_logprobs(policy, batch, temperature=0.7)
    torch.testing.assert_close(both.logprobs, logprobs, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.answer_logprobs, answers, rtol=0, atol=1e-5, equal_nan=True)


def test_probes_of_siblings_after_the_prompt_are_computed_once(policy: nn.Module) -> None:
    # Six siblings of 5 prompt tokens and one turn of 2 different ones: 5 + 6 × 2 distinct. A probe of 3 behind the
    # prompt is the same for all; there is none behind the last turn, which nothing followed.
    batch = rollouts([[2]] * 6, rewards=[0.0] * 6, groups=[7] * 6, prompt=5)
    ids = batch.input_ids.clone()
    ids[:, 5:] = torch.arange(12).view(6, 2) + 20
    probes = torch.tensor([[200, 201, 202]]).expand(6, 1, 3)
    batch = replace(batch, input_ids=ids, probe_ids=probes, probe_scored=torch.ones_like(probes, dtype=torch.bool))
    with torch.no_grad():
        load = score(policy, batch, temperature=1.0, answers=True).load
    assert load.distinct == load.computed == 5 + 6 * 2 + 3


def test_scores_exist_exactly_where_a_turn_could_follow_and_an_answer_is_known(policy: nn.Module) -> None:
    batch = probed()
    with torch.no_grad():
        found = answer_logprobs(policy, batch, temperature=1.0)
    expected = batch.turn_ends >= 0
    expected[1] = False  # no answer
    assert torch.equal(found.isfinite(), expected)


def test_what_follows_a_turn_never_changes_its_score(policy: nn.Module) -> None:
    batch = probed()
    later = batch.input_ids.clone()
    later[0, int(batch.turn_ends[0, 1]) :] = 7
    with torch.no_grad():
        before = answer_logprobs(policy, batch, temperature=1.0)
        after = answer_logprobs(policy, replace(batch, input_ids=later), temperature=1.0)
    torch.testing.assert_close(after[0, :2], before[0, :2])


def test_gains_telescope(policy: nn.Module) -> None:
    batch = probed()
    with torch.no_grad():
        scored = replace(batch, answer_logprobs=answer_logprobs(policy, batch, temperature=1.0))
    assert scored.answer_logprobs is not None
    gains = information_gains(scored, "log").values.sum(1)
    for row in (0, 2, 3):
        scores = scored.answer_logprobs[row][scored.answer_logprobs[row].isfinite()]
        torch.testing.assert_close(gains[row], scores[-1] - scores[0])


def test_without_any_answer_there_is_nothing_but_nan(policy: nn.Module) -> None:
    batch = probed()
    assert batch.probe_scored is not None
    none = replace(batch, probe_scored=torch.zeros_like(batch.probe_scored))
    assert answer_logprobs(policy, none, temperature=1.0).isnan().all()
    found = score(policy, none, temperature=1.0, answers=True).answer_logprobs
    assert found is not None
    assert found.isnan().all()


def test_a_batch_without_probes_is_refused(policy: nn.Module) -> None:
    with pytest.raises(ValueError, match="with_probes"):
        answer_logprobs(policy, replace(probed(), probe_ids=None), temperature=1.0)
