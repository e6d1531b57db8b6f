"""Block by block is what SDPA with a dense mask is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_batches import MANY
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from tree_batches import tree_batch

from lightning_agentrl.prefix_tree import PackedTrees, TokenSequence, pack_trees
from lightning_agentrl.scoring import block_attention as module
from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.block_attention import block_attention, cut_blocks

BLOCKS = settings(MANY, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(lengths: list[int], shared: int) -> PackedTrees:
    """Siblings of such lengths behind a shared prefix; and a row by itself."""
    sequences = [torch.tensor([0] * shared + [branch] * own) for branch, own in enumerate(lengths, 1)]
    groups = [0] * len(sequences) + [1]
    everyone = zip([*sequences, torch.zeros(5, dtype=torch.int64)], groups, strict=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    (trees,), _ = pack_trees([TokenSequence(tokens, nothing, group) for tokens, group in everyone], sparse=True)
    return trees


class Layer(nn.Module):
    """What an attention function reads of its layer: two query heads share a key."""

    num_key_value_groups = 2
    is_causal = True


def attend(function: Any, mask: Tensor | None, width: int, rows: int = 1) -> list[Tensor]:
    """Output and gradients of an attention function on random states."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, 4, width, 8), (rows, 2, width, 8), (rows, 2, width, 8)]
    states = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    output = function(Layer(), *states, mask, scaling=0.3, dropout=0.0)[0]
    weights = torch.randn(output.shape, generator=generator)
    return [output, *torch.autograd.grad((output * weights).sum(), states)]


@BLOCKS
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 40))
def test_values_and_gradients_are_those_of_a_dense_mask(lengths: list[int], shared: int) -> None:
    trees = packed(lengths, shared)
    width = trees.ends.shape[1]
    found = attend(block_attention, trees.ends[:, None, None], width)
    for one, other in zip(found, attend(sdpa_attention_forward, trees.mask(), width), strict=True):
        torch.testing.assert_close(one, other)


def test_blocks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Columns 0 1 are shared, 2 3 the first branch, 4 5 the second. In blocks of two queries:
    # 0 1 see themselves, 2 3 see 0 1 too, and so do 4 5, which do not see 2 3.
    monkeypatch.setattr(module, "BLOCK", 2)
    blocks = cut_blocks(torch.tensor([6, 6, 4, 4, 6, 6]))
    assert blocks.size == 2
    assert [part.tolist() for part in blocks.keys.split(blocks.counts)] == [[0, 1], [0, 1, 2, 3], [0, 1, 4, 5]]
    assert blocks.masks[2][0, 0].tolist() == [[True, True, True, False], [True, True, True, True]]


@BLOCKS
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 200))
def test_a_block_never_has_more_than_five_times_as_many_keys_as_queries(lengths: list[int], shared: int) -> None:
    blocks = cut_blocks(packed(lengths, shared).ends[0])
    assert max(blocks.counts) <= 5 * blocks.size + 4  # a quarter, rounded down


def test_blocks_grow_with_the_longest_sequence() -> None:
    # The deepest token of a row by itself sees 100 tokens; of two branches of 50 behind 10 shared ones, 60.
    alone, branches = torch.full((100,), 100), torch.tensor([110] * 10 + [60] * 50 + [110] * 50)
    assert [cut_blocks(ends).size for ends in (alone, branches)] == [25, 15]


@pytest.mark.parametrize("causal", [True, False], ids=["no mask", "a mask"])
def test_without_trees_it_is_sdpa(causal: bool) -> None:
    mask = None if causal else torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    mask = mask if mask is None else mask | torch.eye(9, dtype=torch.bool)
    for one, other in zip(
        attend(block_attention, mask, 9, rows=3), attend(sdpa_attention_forward, mask, 9, rows=3), strict=True
    ):
        assert torch.equal(one, other)


def test_blocks_are_cut_once_for_all_layers(policy: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(module, "cut_blocks", lambda ends: calls.append(1) or cut_blocks(ends))
    with torch.no_grad():
        score(policy, tree_batch(6), temperature=1.0)
    assert policy.config.num_hidden_layers == 2
    assert len(calls) == 1
