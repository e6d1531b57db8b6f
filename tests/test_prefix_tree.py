"""Prefix trees against what they stand for: each sequence by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY
from torch.nn.attention.flex_attention import create_mask

from lightning_agentrl.prefix_tree import Load, PackedTrees, TokenSequence, distinct_tokens, pack_trees

Asked = dict[int, tuple[PackedTrees, int, int]]
"""Question → the forward that answers it, place of the token asked about, place of the token that predicts it."""


def sequence(tokens: Sequence[int], wanted: Sequence[int] | None = None, group: int = 0) -> TokenSequence:
    """Asks about all tokens but the first, unless told otherwise."""
    columns = range(1, len(tokens)) if wanted is None else wanted
    return TokenSequence(torch.tensor(tokens), torch.tensor(list(columns), dtype=torch.int64), group)


def some_sequences() -> st.SearchStrategy[list[TokenSequence]]:
    """Up to ten sequences of three different tokens in up to three groups; some are twins or prefixes of others."""
    tokens = st.lists(st.integers(0, 2), min_size=1, max_size=8)
    return st.lists(st.builds(sequence, tokens, group=st.integers(0, 2)), min_size=1, max_size=10)


budgets = st.one_of(st.none(), st.integers(1, 40))


def answers(packed: Sequence[PackedTrees]) -> Asked:
    found: Asked = {}
    for trees in packed:
        for pick, question in zip(trees.picks.tolist(), trees.asked.tolist(), strict=True):
            assert question not in found
            found[question] = trees, int(trees.nodes[pick]), int(trees.parents[pick])
    return found


def seen_from(trees: PackedTrees, place: int) -> list[tuple[int, int]]:
    """(position, token) of all that a place sees."""
    row, column = divmod(place, trees.ends.shape[1])
    visible = trees.mask()[row, 0, column]
    positions, tokens = trees.positions[row, visible], trees.input_ids[row, visible]
    return list(zip(positions.tolist(), tokens.tolist(), strict=True))


def test_a_tree_by_hand() -> None:
    # 5 6 7    Sorted: 5 6 7, then 5 6 8 9 which adds 8 9, then 5 8 which adds 8. In a row:
    # 5 6 8 9     token     5 6 7 8 9 8     place of "7" is 2, and it follows place 1
    # 5 8         position  0 1 2 2 3 1
    #             end       6 5 3 5 5 6
    (trees,), load = pack_trees([sequence([5, 8], [1]), sequence([5, 6, 7], [2]), sequence([5, 6, 8, 9], [2, 3])])
    assert trees.input_ids.tolist() == [[5, 6, 7, 8, 9, 8]]
    assert trees.positions.tolist() == [[0, 1, 2, 2, 3, 1]]
    assert trees.ends.tolist() == [[6, 5, 3, 5, 5, 6]]
    places = {question: place[1:] for question, place in answers([trees]).items()}
    assert places == {0: (5, 0), 1: (2, 1), 2: (3, 1), 3: (4, 3)}
    assert load == Load(tokens=9, distinct=6, computed=6)


@MANY
@given(some_sequences(), budgets, st.booleans())
def test_every_token_sees_its_own_sequence_up_to_itself(
    sequences: list[TokenSequence], budget: int | None, sparse: bool
) -> None:
    packed, _ = pack_trees(sequences, budget, sparse=sparse)
    found = answers(packed)
    question = 0
    for one in sequences:
        tokens = list(enumerate(one.tokens.tolist()))
        for column in one.wanted.tolist():
            trees, node, parent = found.pop(question)
            assert seen_from(trees, node) == tokens[: column + 1]
            assert seen_from(trees, parent) == tokens[:column]
            question += 1
    assert not found


@MANY
@given(some_sequences(), budgets, st.booleans())
def test_the_load_counts_prefixes(sequences: list[TokenSequence], budget: int | None, sparse: bool) -> None:
    packed, load = pack_trees(sequences, budget, sparse=sparse)
    prefixes = {(one.group, *one.tokens[: n + 1].tolist()) for one in sequences for n in range(len(one.tokens))}
    assert load.tokens == sum(len(one.tokens) for one in sequences)
    assert load.distinct == distinct_tokens(sequences) == len(prefixes)
    assert load.computed == sum(trees.input_ids.numel() for trees in packed)


@MANY
@given(some_sequences(), st.integers(1, 40), st.booleans())
def test_a_forward_stays_within_the_budget_unless_one_sequence_exceeds_it(
    sequences: list[TokenSequence], budget: int, sparse: bool
) -> None:
    longest = max(len(one.tokens) for one in sequences)
    for trees in pack_trees(sequences, budget, sparse=sparse)[0]:
        assert trees.input_ids.numel() <= max(budget, longest)


@MANY
@given(some_sequences(), st.randoms(use_true_random=False))
def test_the_order_of_sequences_makes_no_other_tree(sequences: list[TokenSequence], rng: random.Random) -> None:
    shuffled = rng.sample(sequences, len(sequences))
    assert distinct_tokens(shuffled) == distinct_tokens(sequences)


@settings(MANY, max_examples=20)
@given(some_sequences(), budgets)
def test_flex_attention_is_told_the_same(sequences: list[TokenSequence], budget: int | None) -> None:
    for trees in pack_trees(sequences, budget)[0]:
        rows, width = trees.ends.shape
        told = create_mask(trees.sees(), rows, None, width, width, device="cpu")
        assert torch.equal(told, trees.mask())


def test_blocks_in_which_nobody_sees_anybody_are_left_out() -> None:
    # 256 shared tokens and two branches of 256: blocks of 128 in six rows; of the lower triangle's 21 blocks, the four
    # in which the second branch would see the first are empty.
    shared = [0] * 256
    (trees,), _ = pack_trees([sequence([*shared, *[branch] * 256]) for branch in (1, 2)])
    assert int(trees.block_mask().to_dense().sum()) == 21 - 4


def test_padding_sees_itself_alone_and_nobody_sees_it() -> None:
    # Trees of 4 and 2 tokens do not fit into a row of 4 together.
    (trees,), load = pack_trees([sequence([1, 2, 3, 4]), sequence([1, 2], group=1)])
    assert trees.input_ids.shape == (2, 4)
    assert trees.mask()[1, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert load == Load(tokens=6, distinct=6, computed=8)


def test_equal_prefixes_of_different_groups_stay_apart() -> None:
    assert distinct_tokens([sequence([1, 2, 3]), sequence([1, 2, 3], group=1)]) == 6


@pytest.mark.parametrize("more", [[1, 2, 3], [1, 2]], ids=["twin", "prefix"])
def test_a_sequence_that_is_there_already_costs_nothing(more: list[int]) -> None:
    packed, load = pack_trees([sequence([1, 2, 3]), sequence(more)])
    assert load.distinct == load.computed == 3
    assert len(answers(packed)) == 2 + len(more) - 1


def test_what_several_sequences_ask_about_is_one_node() -> None:
    (trees,), _ = pack_trees([sequence([1, 2, 3]), sequence([1, 2, 4])])
    assert len(trees.picks) == 4
    assert len(trees.nodes) == 3


def test_small_trees_fill_rows_up_to_the_longest() -> None:
    # Trees of 6, 4, 3, 2, 2, 1 in rows of 6: 6 | 4 2 | 3 2 1.
    trees = [sequence([0] * length, group=group) for group, length in enumerate([2, 6, 3, 1, 4, 2])]
    (packed,), load = pack_trees(trees)
    assert packed.input_ids.shape == (3, 6)
    assert load.computed == load.distinct == 18


def test_sparse_attention_puts_everything_into_one_row() -> None:
    trees = [sequence([0] * length, group=group) for group, length in enumerate([2, 6, 3, 1, 4, 2])]
    (packed,), load = pack_trees(trees, sparse=True)
    assert packed.input_ids.shape == (1, 18)
    assert load.computed == load.distinct == 18


def test_sparse_attention_leaves_no_padding_under_a_budget() -> None:
    # Budget 7, first fit decreasing: 6 1 | 4 3 | 2 2.
    trees = [sequence([0] * length, group=group) for group, length in enumerate([2, 6, 3, 1, 4, 2])]
    packed, load = pack_trees(trees, 7, sparse=True)
    assert [tuple(trees.input_ids.shape) for trees in packed] == [(1, 7), (1, 7), (1, 4)]
    assert load.computed == load.distinct == 18


def test_one_tree_is_computed_without_padding() -> None:
    _, load = pack_trees([sequence([0, 0, *branch]) for branch in ([1], [2, 2], [3, 3, 3])], max_tokens=8)
    assert load == Load(tokens=12, distinct=8, computed=8)


def test_a_tree_over_the_budget_repeats_what_its_parts_share() -> None:
    # Four branches of 2 behind 3 shared tokens: 11 distinct. A budget of 7 takes two branches at a time: 3 + 4 twice.
    branches = [sequence([0, 0, 0, branch, branch]) for branch in range(1, 5)]
    packed, load = pack_trees(branches, max_tokens=7)
    assert [trees.input_ids.numel() for trees in packed] == [7, 7]
    assert load == Load(tokens=20, distinct=11, computed=14)


def test_loads_add_up() -> None:
    assert Load(1, 2, 3) + Load(10, 20, 30) == Load(11, 22, 33)


@pytest.mark.parametrize("column", [0, 3, -1])
def test_a_question_without_a_token_or_without_a_context_is_refused(column: int) -> None:
    with pytest.raises(ValueError, match=r"columns 1…2"):
        pack_trees([sequence([1, 2, 3], [column])])
