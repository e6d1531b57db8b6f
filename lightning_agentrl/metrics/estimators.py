"""What n samples of a prompt, c of them right, say about k samples: pass@k, pass^k and maj@k, all without bias.

Each is the mean over all subsets of k of the n samples, computed without listing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_VOTERS = 1000
"""Beyond, numbers of subsets leave the range of float64."""


def pass_at_k(n: Int[Tensor, " P"], c: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
    """Probability that at least one of k samples is right: 1 − C(n−c, k) / C(n, k), float64; NaN where n < k.

    Chen et al. 2021 (arXiv:2107.03374), Eq. 1. The plug-in 1 − (1 − c/n)^k would be too low.
    """
    return 1 - _all_of(n, n - c, k)


def pass_hat_k(n: Int[Tensor, " P"], c: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
    """Probability that all of k samples are right, "pass^k": C(c, k) / C(n, k), float64; NaN where n < k.

    τ-bench, Yao et al. 2024 (arXiv:2406.12045).
    """
    return _all_of(n, c, k)


def _all_of(n: Int[Tensor, " P"], marked: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
    """C(marked, k) / C(n, k) as the product of k factors in [0, 1]: no factorial, so nothing overflows."""
    drawn = torch.arange(k)
    share = (marked[:, None] - drawn).clamp(min=0).double() / (n[:, None] - drawn).clamp(min=1)  # [P, k]
    return torch.where(n >= k, share.prod(1), torch.nan)


@lru_cache(maxsize=4096)
def majority_at_k(votes: tuple[tuple[int, float], ...], silent: int, k: int) -> float:
    """Expected correctness of the answer that most of k samples give, "maj@k"; NaN where there are fewer samples.

    Of answers with equally many votes each is chosen with equal probability. Silent samples are drawn like others but
    do not vote; where nobody votes, the answer is wrong. With k = 1 this is the share of right answers.

    Exact, without going through C(n, k) subsets: for each number of votes that the winner may have, subsets are counted
    by their size and by how many answers tie, while the answers are put in one by one; at most n k² additions each.

    Args:
        votes: for each distinct answer, how many of the samples gave it, and how right it is, in [0, 1].
        silent: number of samples without an answer.
        k: size of the subsets.

    Raises:
        ValueError: for more than 1000 samples.
    """
    n = silent + sum(size for size, _ in votes)
    if n > MOST_VOTERS:
        raise ValueError(f"majority_at_k takes at most {MOST_VOTERS} samples of a prompt, got {n}; use fewer.")
    if n < k:
        return torch.nan
    right = 0.0
    for winning in range(1, min(k, max((size for size, _ in votes), default=0)) + 1):
        tied = _correctness(votes, silent, winning, k)
        right += float((tied[1:] / torch.arange(1, len(tied))).sum())
    return right / comb(n, k)


def _correctness(votes: Sequence[tuple[int, float]], silent: int, winning: int, k: int) -> Float[Tensor, " A"]:
    """Correctness of the answers with ``winning`` votes, summed over the subsets in which that is the most.

    By the number of such answers in a subset, from 0.
    """
    ties = min(len(votes), k // winning)
    # How many subsets there are, and the sum, by number of answers that tie and size of the subset.
    state = torch.zeros(2, ties + 1, k + 1, dtype=torch.float64)
    state[0, 0, 0] = 1
    for size, correct in votes:
        wider = _widened(state, size, winning - 1)
        if size >= winning:
            joined = float(comb(size, winning)) * state[:, :-1, : k + 1 - winning]
            joined[1] += correct * joined[0]
            wider[:, 1:, winning:] += joined
        state = wider
    return _widened(state, silent, k)[1, :, k]


def _widened(state: Float[Tensor, "2 A K"], size: int, most: int) -> Float[Tensor, "2 A K"]:
    """The subsets with any 0 to ``most`` of ``size`` further samples put in."""
    wider = torch.zeros_like(state)
    for count in range(min(size, most, state.shape[2] - 1) + 1):
        wider[..., count:] += float(comb(size, count)) * state[..., : state.shape[2] - count]
    return wider
