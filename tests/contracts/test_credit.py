"""What every credit assigner must keep, checked on every one that is found in the package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch

from lightning_agentrl import credit
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import TOKEN_FIELDS, RolloutBatch, Signal


def assigners() -> Iterator[CreditAssigner]:
    for module in pkgutil.iter_modules(credit.__path__):
        importlib.import_module(f"{credit.__name__}.{module.name}")
    for cls in CreditAssigner.__subclasses__():
        if cls.__module__.startswith(credit.__name__):
            yield cls()


ALL = pytest.mark.parametrize("assigner", list(assigners()), ids=lambda assigner: type(assigner).__name__)


def ragged(seed: int = 0) -> RolloutBatch:
    """Two groups of three rows with unequal turns, and every signal there is."""
    generator = torch.Generator().manual_seed(seed)
    turns = [[2, 3, 1], [1], [4, 2], [3], [1, 1, 1], [2, 5]]

    def numbers(count: int) -> list[float]:
        return torch.randn(count, generator=generator).tolist()

    return rollouts(
        turns,
        rewards=numbers(6),
        groups=[4, 4, 4, 9, 9, 9],
        turn_rewards=[numbers(len(row)) for row in turns],
        truncated=[False, False, True, False, False, False],
        old_logprobs=[numbers(sum(row)) for row in turns],
        current_logprobs=[numbers(sum(row)) for row in turns],
        ref_logprobs=[numbers(sum(row)) for row in turns],
        entropies=[[abs(x) for x in numbers(sum(row))] for row in turns],
        sampling_entropies=[[abs(x) for x in numbers(sum(row))] for row in turns],
        state_keys=[[5, *range(len(row) - 1)] for row in turns],
        answer_logprobs=[[-abs(x) for x in numbers(len(row))] for row in turns],
    )


@ALL
def test_credit_is_zero_off_the_action_mask(assigner: CreditAssigner) -> None:
    batch = ragged()
    assert not assigner(batch).advantages[~batch.action_mask].any()


@ALL
def test_the_same_batch_gives_the_same_credit(assigner: CreditAssigner) -> None:
    assert torch.equal(assigner(ragged()).advantages, assigner(ragged()).advantages)


@ALL
def test_observation_tokens_never_change_credit(assigner: CreditAssigner) -> None:
    batch = ragged()
    changed = {"input_ids": torch.where(batch.action_mask, batch.input_ids, batch.input_ids + 7)}
    for name in TOKEN_FIELDS & {"old_logprobs", "current_logprobs", "ref_logprobs", "entropies", "sampling_entropies"}:
        changed[name] = torch.where(
            batch.action_mask, getattr(batch, name), torch.full_like(getattr(batch, name), 99.0)
        )
    torch.testing.assert_close(
        assigner(replace(batch, **changed)).advantages, assigner(batch).advantages, rtol=0, atol=0
    )


@ALL
def test_permuting_rows_permutes_credit(assigner: CreditAssigner) -> None:
    batch, order = ragged(), torch.tensor([3, 0, 5, 2, 4, 1])
    torch.testing.assert_close(assigner(batch.select(order)).advantages, assigner(batch).advantages[order])


@ALL
def test_padding_never_changes_credit(assigner: CreditAssigner) -> None:
    batch = ragged()
    fill = {"turn_ids": -1, "input_ids": 3}
    wide = {
        name: torch.nn.functional.pad(getattr(batch, name), (0, 4), value=fill.get(name, 0))
        for name in TOKEN_FIELDS
        if getattr(batch, name) is not None
    }
    padded = assigner(replace(batch, **wide)).advantages
    torch.testing.assert_close(padded[:, :-4], assigner(batch).advantages)
    assert not padded[:, -4:].any()


@ALL
@pytest.mark.parametrize(
    "batch",
    [
        rollouts([[2, 1]], [1.0], answer_logprobs=[[-1, -1]], entropies=[[1, 2, 3]]),
        rollouts([[2], [3]], [0.5, 0.5], answer_logprobs=[[-1], [-1]], entropies=[[1, 2], [1, 2, 3]]),
        rollouts([[0, 1], [1]], [1.0, 0.0], answer_logprobs=[[-1, -1], [-1]], entropies=[[1], [2]]),
    ],
    ids=["one rollout", "equal rewards", "empty action"],
)
def test_degenerate_batches_give_finite_credit(assigner: CreditAssigner, batch: RolloutBatch) -> None:
    full = replace(batch, old_logprobs=batch.sampling_logprobs, current_logprobs=batch.sampling_logprobs)
    assert assigner(full).advantages.isfinite().all()


@ALL
def test_an_assigner_runs_on_a_batch_that_holds_only_what_it_declared(assigner: CreditAssigner) -> None:
    batch = ragged()
    optional = [name for name in (~Signal.NONE).field_names if name not in assigner.requires.field_names]
    assigner(replace(batch, **dict.fromkeys(optional)))


@ALL
def test_every_option_of_an_assigner_is_documented(assigner: CreditAssigner) -> None:
    import docstring_parser

    documented = {p.arg_name for p in docstring_parser.parse_from_object(type(assigner)).params}
    assert {f.name for f in fields(assigner)} <= documented  # type: ignore[arg-type]
