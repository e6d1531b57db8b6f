"""What every credit assigner must keep, checked on every one that is found in the package."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from random_batches import random_batch

from lightning_agentrl import credit
from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.appo import APPO
from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.credit.mt_grpo import MTGRPO
from lightning_agentrl.credit.reinforce_plus_plus import ReinforcePlusPlus
from lightning_agentrl.ops import turn_mean, turn_sum
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import TOKEN_FIELDS, RolloutBatch, Signal


def found() -> Iterator[type[CreditAssigner]]:
    for module in pkgutil.iter_modules(credit.__path__):
        importlib.import_module(f"{credit.__name__}.{module.name}")
    for cls in CreditAssigner.__subclasses__():
        if cls.__module__.startswith(credit.__name__):
            yield cls


VARIANTS = [
    GRPO(normalize_std=False),
    ReinforcePlusPlus(baseline=True, kl_coefficient=0.1, gamma=0.9),
    GiGPO(statistics="step", normalize_std=False),
    MTGRPO(form="k-turn", gamma=0.9),
    IGPO(gain="prob", pool="joint", gamma=0.9),
    A2TGPO(normalize="group", rescale=False, beta=0.0, gain="prob"),
    A2TGPO(normalize="leave-one-out", rescale=False),
    A2TGPO(alpha=0.3, first_turn_gain=False),
    AEM(base=A2TGPO(), lam=-1.0, scope="trajectory"),
    AEM(base=GiGPO(), scope="batch"),
    AEM(shuffle=True),
    ARPO(credit="hard"),
    ARPO(credit="hard", prefix_weight="one"),
    APPO(mode="code"),
    APPO(mode="literal"),
    APPO(groups="single"),
]
"""Settings that take other paths than the defaults do."""

ALL = pytest.mark.parametrize("assigner", [*(cls() for cls in found()), *VARIANTS], ids=repr)
BATCHES = pytest.mark.parametrize("seed", [None, 1, 2, 3], ids=["by hand", "branched 1", "branched 2", "branched 3"])


def batch_for(seed: int | None) -> RolloutBatch:
    """Six rows written by hand, or random ones with branches."""
    return ragged() if seed is None else random_batch(seed, branches=True)


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
@BATCHES
def test_credit_is_zero_off_the_action_mask(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
    assert not assigner(batch).advantages[~batch.action_mask].any()


@ALL
@BATCHES
def test_the_same_batch_gives_the_same_credit(assigner: CreditAssigner, seed: int | None) -> None:
    assert torch.equal(assigner(batch_for(seed)).advantages, assigner(batch_for(seed)).advantages)


@ALL
@BATCHES
def test_a_batch_is_left_as_it_was(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
    assigner(batch)
    for name, value in vars(batch_for(seed)).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(getattr(batch, name), value, rtol=0, atol=0, equal_nan=True)


@ALL
@BATCHES
def test_observation_tokens_never_change_credit(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
    changed = {"input_ids": torch.where(batch.action_mask, batch.input_ids, batch.input_ids + 7)}
    for name in TOKEN_FIELDS & {"old_logprobs", "current_logprobs", "ref_logprobs", "entropies", "sampling_entropies"}:
        changed[name] = torch.where(
            batch.action_mask, getattr(batch, name), torch.full_like(getattr(batch, name), 99.0)
        )
    torch.testing.assert_close(
        assigner(replace(batch, **changed)).advantages, assigner(batch).advantages, rtol=0, atol=0
    )


@ALL
@BATCHES
def test_permuting_rows_permutes_credit(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))
    plain, permuted = assigner(batch), assigner(batch.select(order))
    torch.testing.assert_close(permuted.advantages, plain.advantages[order])
    if plain.clip_scale is not None:
        torch.testing.assert_close(permuted.clip_scale, plain.clip_scale[order])
    if plain.loss_mask is not None:
        assert permuted.loss_mask is not None
        assert torch.equal(permuted.loss_mask, plain.loss_mask[order])


@ALL
@BATCHES
def test_a_group_does_not_see_the_other_groups(assigner: CreditAssigner, seed: int | None) -> None:
    whole_batch = isinstance(assigner, ReinforcePlusPlus) or getattr(assigner, "scope", "") == "batch"
    if whole_batch or getattr(assigner, "normalize", "") == "leave-one-out":
        return  # their statistics are over the collection, and say so
    batch = batch_for(seed)
    for group in batch.group_ids.unique():
        rows = (batch.group_ids == group).nonzero()[:, 0]
        torch.testing.assert_close(assigner(batch.select(rows)).advantages, assigner(batch).advantages[rows])


@ALL
@BATCHES
def test_padding_never_changes_credit(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
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
@BATCHES
def test_components_add_up_to_the_credit(assigner: CreditAssigner, seed: int | None) -> None:
    batch = batch_for(seed)
    credit = assigner(batch)
    parts = dict(credit.components)
    total = sum(part for name, part in parts.items() if name != "entropy factor")
    assert isinstance(total, torch.Tensor)
    if "entropy factor" in parts:
        total = total * parts["entropy factor"]
    mean = turn_mean(credit.advantages, batch.turn_ids, batch.turn_mask.shape[1])
    spoken = turn_sum(torch.ones_like(credit.advantages), batch.turn_ids, batch.turn_mask.shape[1]) > 0
    branch = batch.parent_ids >= 0 if isinstance(assigner, APPO) else torch.zeros(len(batch), dtype=torch.bool)
    checked = spoken & ~branch[:, None]
    torch.testing.assert_close(total[checked], mean[checked])


@ALL
@pytest.mark.parametrize(
    "batch",
    [
        rollouts([[2, 1]], [1.0], answer_logprobs=[[-1, -1]], entropies=[[1, 2, 3]]),
        rollouts([[2], [3]], [0.5, 0.5], answer_logprobs=[[-1], [-1]], entropies=[[1, 2], [1, 2, 3]]),
        rollouts([[0, 1], [1]], [1.0, 0.0], answer_logprobs=[[-1, -1], [-1]], entropies=[[1], [2]]),
        rollouts([[1, 1], [1]], [math.nan, 1.0], answer_logprobs=[[-1, -2], [-1]], entropies=[[1, 1], [2]]),
        rollouts([[1], [1], [1]], [math.nan, 1.0, 0.0], answer_logprobs=[[-1]] * 3, entropies=[[1], [2], [3]]),
        rollouts([[1, 1], [1, 1]], [1.0, 0.0], answer_logprobs=[[math.nan] * 2] * 2, entropies=[[math.nan, 1]] * 2),
        rollouts([[0], [0]], [1.0, 0.0], answer_logprobs=[[-1], [-1]], entropies=[[], []]),
    ],
    ids=["one rollout", "equal", "empty action", "nan in two", "nan in three", "no answer", "nothing said"],
)
def test_degenerate_batches_give_finite_credit(assigner: CreditAssigner, batch: RolloutBatch) -> None:
    spoken = batch.sampling_logprobs
    credited, metrics = apply_credit(
        assigner, replace(batch, old_logprobs=spoken, current_logprobs=spoken, ref_logprobs=spoken)
    )
    assert credited.advantages is not None
    assert credited.advantages.isfinite().all()
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["credit/invalid_rewards"] == batch.rewards.isnan().sum()


@ALL
def test_an_assigner_runs_on_a_batch_that_holds_only_what_it_declared(assigner: CreditAssigner) -> None:
    batch = ragged()
    optional = [name for name in (~Signal.NONE).field_names if name not in assigner.requires.field_names]
    apply_credit(assigner, replace(batch, **dict.fromkeys(optional)))


@ALL
def test_what_is_missing_is_named_with_who_asked_for_it(assigner: CreditAssigner) -> None:
    for name in assigner.requires.field_names:
        asking = assigner
        while asking.wrapped is not None and name in asking.wrapped.requires.field_names:
            asking = asking.wrapped
        with pytest.raises(ValueError, match=rf"{type(asking).__name__} needs {name}, which this batch does not"):
            apply_credit(assigner, replace(ragged(), **{name: None}))


@ALL
def test_every_option_of_an_assigner_is_documented(assigner: CreditAssigner) -> None:
    import docstring_parser

    documented = {p.arg_name for p in docstring_parser.parse_from_object(type(assigner)).params}
    assert {f.name for f in fields(assigner)} <= documented  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", list(found()), ids=lambda cls: cls.__name__)
def test_every_assigner_cites_its_paper_and_lists_its_deviations(cls: type[CreditAssigner]) -> None:
    assert "arXiv:" in str(cls.__doc__)
    assert "Deviations:" in str(cls.__doc__)
