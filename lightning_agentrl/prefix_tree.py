"""Token sequences as prefix trees in packed rows: what sequences share is there once.

In lexicographic order a sequence adds only the tokens behind what it shares with the one before it. Laid down in that
order, the tokens of a tree stand in depth-first preorder: the descendants of a token are the interval right behind it.
So one integer per token, where that interval ends, says who sees whom: p sees q iff q ≤ p < ends[q].
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class TokenSequence:
    """A sequence of tokens, and which of them are asked about. Its tensors lie on the CPU."""

    tokens: Int[Tensor, " T"]
    wanted: Int[Tensor, " M"]
    """Columns of the tokens asked about, ascending; never column 0, which nothing predicts."""
    group: int = 0
    """Sequences of different groups (prompts) are never merged."""


NOTHING = TokenSequence(torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
"""One token that nobody asks about, for a forward that has to be made."""


@dataclass(frozen=True)
class Load:
    """How much there was to compute, in tokens; a part of one where ranks compute together."""

    tokens: float
    """Of all sequences."""
    distinct: float
    """Of all trees: a prefix that sequences of a group share counts once."""
    computed: float
    """Of all forwards, with padding and with what split trees repeat."""

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Load)))

    def __truediv__(self, ranks: int) -> Load:
        """What each of them has of it."""
        return Load(*(getattr(self, f.name) / ranks for f in fields(Load)))


@dataclass(frozen=True)
class PackedTrees:
    """Trees head to tail in rows, for one forward. A *place* counts through all rows: row · L + column.

    What was asked is numbered through all sequences in their order. A token that several sequences ask about is one
    node; ``picks`` and ``asked`` bring its answer back to each of them.
    """

    input_ids: Int[Tensor, "R L"]
    positions: Int[Tensor, "R L"]
    """Column in the token's own sequence."""
    ends: Int[Tensor, "R L"]
    """Column behind the last descendant. Padding has none, and no ancestors: it sees itself alone."""
    nodes: Int[Tensor, " M"]
    """Places of the tokens that are asked about."""
    parents: Int[Tensor, " M"]
    """Places of the tokens before them, whose hidden states predict them."""
    picks: Int[Tensor, " E"]
    """Which node answers a question."""
    asked: Int[Tensor, " E"]
    """Number of that question."""

    def to(self, device: torch.device | str) -> PackedTrees:
        """The same trees on ``device``."""
        return PackedTrees(*(getattr(self, f.name).to(device) for f in fields(self)))

    def sees(self) -> Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]:
        """Whether a query sees a key, as a function of row, head, query and key: FlexAttention's form of a mask."""
        ends = self.ends

        def query_sees_key(row: Tensor, head: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < ends[row, key])

        return query_sees_key

    def mask(self) -> Bool[Tensor, "R 1 L L"]:
        """The same for all queries (third dimension) and keys (fourth)."""
        rows, columns = (torch.arange(size, device=self.ends.device) for size in self.ends.shape)
        return self.sees()(rows[:, None, None, None], None, columns[:, None], columns)

    def block_mask(self) -> BlockMask:
        """The same for FlexAttention, which skips blocks in which nobody sees anybody."""
        from torch.nn.attention.flex_attention import create_block_mask  # takes seconds, and few need it

        rows, width = self.ends.shape
        return create_block_mask(self.sees(), rows, None, width, width, device=self.ends.device)


def pack_trees(
    sequences: Sequence[TokenSequence], max_tokens: int | None = None, *, sparse: bool = False
) -> tuple[list[PackedTrees], Load]:
    """The trees of all groups, in as few forwards as the budget allows.

    A tree that exceeds the budget is split between sequences, which repeats what the parts share. Trees are then put
    head to tail into rows.

    Args:
        sequences: at least one token among them.
        max_tokens: most tokens of one forward, padding included. A sequence is never cut, so a longer one exceeds it.
        sparse: whether attention spends nothing on what is hidden. Then a forward is one row without padding. Otherwise
            it costs the square of a row, and no row is longer than the longest tree.

    Raises:
        ValueError: when a sequence asks about a column that it does not have or that nothing predicts.
    """
    _check(sequences)
    limit = sys.maxsize if max_tokens is None else max_tokens
    first = [0, *accumulate(len(sequence.wanted) for sequence in sequences)]  # number of a sequence's first question
    orders = list(_orders(sequences))
    trees = [_grow(sequences, part, first) for order in orders for part in _split(sequences, order, limit)]
    capacity = limit if sparse else max(map(len, trees))
    packed = [_pack(rows) for rows in _forwards(_fill_rows(trees, capacity), limit)]
    total = sum(len(sequence.tokens) for sequence in sequences)
    return packed, Load(total, _distinct(sequences, orders), sum(trees.ends.numel() for trees in packed))


def distinct_tokens(sequences: Sequence[TokenSequence]) -> int:
    """Tokens of the trees that these sequences make."""
    return _distinct(sequences, _orders(sequences))


# --- order: where each sequence leaves the one before it --------------------------------------------------------

Order = list[tuple[int, int]]
"""Numbers of sequences, each with the count of leading tokens that it shares with the sequence before it."""


def _orders(sequences: Sequence[TokenSequence]) -> Iterator[Order]:
    """One per group."""
    groups: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        groups.setdefault(sequence.group, []).append(number)
    for numbers in groups.values():
        # Whichever token counts as the smaller: all that matters is that equal prefixes lie together and that a prefix
        # comes before what continues it. Bytes compare fastest.
        numbers.sort(key=lambda number: sequences[number].tokens.numpy().tobytes())
        shared = [_common(sequences[one].tokens, sequences[next_].tokens) for one, next_ in pairwise(numbers)]
        yield list(zip(numbers, [0, *shared], strict=True))


def _common(one: Int[Tensor, " S"], other: Int[Tensor, " T"]) -> int:
    """Length of the longest common prefix."""
    length = min(len(one), len(other))
    differs = (one[:length] != other[:length]).nonzero()
    return int(differs[0]) if len(differs) else length


def _distinct(sequences: Sequence[TokenSequence], orders: Iterator[Order] | list[Order]) -> int:
    return sum(len(sequences[number].tokens) - shared for order in orders for number, shared in order)


def _split(sequences: Sequence[TokenSequence], order: Order, limit: int) -> Iterator[Order]:
    """Consecutive sequences, as many as fit into the limit each time."""
    part: Order = []
    size = 0
    for number, shared in order:
        length = len(sequences[number].tokens)
        if part and size + length - shared > limit:
            yield part
            part, size, shared = [], 0, 0
        part.append((number, shared))
        size += length - shared
    yield part


# --- trees ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tree:
    """One tree, in columns of its own."""

    input_ids: Int[Tensor, " L"]
    positions: Int[Tensor, " L"]
    ends: Int[Tensor, " L"]
    nodes: Int[Tensor, " E"]
    parents: Int[Tensor, " E"]
    asked: Int[Tensor, " E"]

    def __len__(self) -> int:
        return len(self.ends)


def _grow(sequences: Sequence[TokenSequence], order: Order, first: Sequence[int]) -> _Tree:
    """The tree of sequences in order."""
    fresh = [(sequences[number], shared) for number, shared in order]
    size = sum(len(sequence.tokens) - shared for sequence, shared in fresh)
    ends = torch.full((size,), size)
    path = torch.empty(0, dtype=torch.int64)  # columns of the tokens of the sequence at hand
    nodes, parents, start = [], [], 0
    for sequence, shared in fresh:
        ends[path[shared:]] = start  # what the sequence before has for itself ends here
        stop = start + len(sequence.tokens) - shared
        path = torch.cat([path[:shared], torch.arange(start, stop)])
        nodes.append(path[sequence.wanted])
        parents.append(path[sequence.wanted - 1])
        start = stop
    return _Tree(
        input_ids=torch.cat([sequence.tokens[shared:] for sequence, shared in fresh]),
        positions=torch.cat([torch.arange(shared, len(sequence.tokens)) for sequence, shared in fresh]),
        ends=ends,
        nodes=torch.cat(nodes),
        parents=torch.cat(parents),
        asked=torch.cat([torch.arange(first[number], first[number + 1]) for number, _ in order]),
    )


# --- rows -------------------------------------------------------------------------------------------------------

Row = list[_Tree]


def _fill_rows(trees: Sequence[_Tree], capacity: int) -> list[Row]:
    """First fit decreasing: the longest tree first, each into the first row with room for it; fullest rows first."""
    rows: list[Row] = []
    used: list[int] = []
    for tree in sorted(trees, key=len, reverse=True):
        number = next((n for n, length in enumerate(used) if length + len(tree) <= capacity), len(rows))
        if number == len(rows):
            rows.append([])
            used.append(0)
        rows[number].append(tree)
        used[number] += len(tree)
    return sorted(rows, key=_length, reverse=True)


def _forwards(rows: Sequence[Row], limit: int) -> Iterator[list[Row]]:
    """Consecutive rows, as many as fit into the limit each time when padded to the first of them."""
    start = 0
    while start < len(rows):
        count = max(limit // max(_length(rows[start]), 1), 1)
        yield list(rows[start : start + count])
        start += count


def _length(row: Row) -> int:
    return sum(map(len, row))


def _pack(rows: Sequence[Row]) -> PackedTrees:
    width = max(map(_length, rows))
    input_ids, positions = torch.zeros(2, len(rows), width, dtype=torch.int64)
    ends = torch.arange(1, width + 1).repeat(len(rows), 1)
    nodes, parents, asked = [], [], []
    for number, row in enumerate(rows):
        start = 0
        for tree in row:
            span = slice(start, start + len(tree))
            input_ids[number, span] = tree.input_ids
            positions[number, span] = tree.positions
            ends[number, span] = start + tree.ends
            nodes.append(number * width + start + tree.nodes)
            parents.append(number * width + start + tree.parents)
            asked.append(tree.asked)
            start += len(tree)
    distinct, picks = torch.cat(nodes).unique(return_inverse=True)
    before = torch.empty_like(distinct)
    before[picks] = torch.cat(parents)  # a node has one parent, however many sequences name it
    return PackedTrees(input_ids, positions, ends, distinct, before, picks, torch.cat(asked))


def _check(sequences: Sequence[TokenSequence]) -> None:
    for number, sequence in enumerate(sequences):
        wanted = sequence.wanted
        if len(wanted) and not 0 < int(wanted.min()) <= int(wanted.max()) < len(sequence.tokens):
            raise ValueError(
                f"Sequence {number} has tokens to predict in columns 1…{len(sequence.tokens) - 1}, but columns "
                f"{int(wanted.min())}…{int(wanted.max())} are asked about."
            )
