"""pass@k, pass^k and maj@k against a pencil and against all subsets."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_agentrl.metrics.estimators import majority_at_k, pass_at_k, pass_hat_k

HALF = torch.tensor([4]), torch.tensor([1])


def test_one_right_of_four_is_in_half_of_the_pairs():
    assert pass_at_k(*HALF, 2).tolist() == [0.5]  # 3 of 6 pairs hold it; the plug-in says 1 − (3/4)² = 0.4375


def test_one_right_of_four_never_makes_a_pair_of_right_ones():
    assert pass_hat_k(*HALF, 2).tolist() == [0.0]


def test_three_right_of_four_make_half_of_the_pairs():
    assert pass_hat_k(torch.tensor([4]), torch.tensor([3]), 2).tolist() == [0.5]  # C(3, 2) / C(4, 2)


def test_with_one_sample_all_are_the_share_of_right_ones():
    n, c = torch.tensor([5, 3]), torch.tensor([2, 3])
    torch.testing.assert_close(pass_at_k(n, c, 1), torch.tensor([0.4, 1.0], dtype=torch.float64))
    torch.testing.assert_close(pass_hat_k(n, c, 1), torch.tensor([0.4, 1.0], dtype=torch.float64))
    assert majority_at_k(((2, 1.0), (3, 0.0)), 0, 1) == pytest.approx(0.4)


def test_fewer_samples_than_k_give_no_number():
    n = torch.tensor([1, 2])
    assert pass_at_k(n, n, 2).isnan().tolist() == [True, False]
    assert pass_hat_k(n, n, 2).isnan().tolist() == [True, False]
    assert majority_at_k(((1, 1.0),), 0, 2) != majority_at_k(((1, 1.0),), 0, 2)  # NaN


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_passes_are_means_over_all_subsets(right, data):
    k = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, k))
    n, c = torch.tensor([len(right)]), torch.tensor([sum(right)])
    assert pass_at_k(n, c, k).item() == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_hat_k(n, c, k).item() == pytest.approx(sum(map(all, subsets)) / len(subsets))


def test_thousands_of_samples_do_not_overflow():
    n, c = torch.tensor([10_000]), torch.tensor([1])
    assert pass_at_k(n, c, 5000).item() == pytest.approx(0.5)  # k / n
    assert pass_hat_k(n, n, 5000).item() == 1.0


def test_a_tie_is_broken_by_lot():
    assert majority_at_k(((1, 1.0), (1, 0.0)), 0, 2) == 0.5


def test_two_of_three_votes_win():
    # Of the four triples of {a, a, b, c} with a right: aab, aac, and twice abc, which is a tie of three.
    assert majority_at_k(((2, 1.0), (1, 0.0), (1, 0.0)), 0, 3) == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)


def test_a_sample_without_an_answer_does_not_vote():
    assert majority_at_k(((1, 1.0),), 2, 3) == 1.0
    assert majority_at_k(((1, 1.0),), 2, 1) == pytest.approx(1 / 3)  # where nobody votes, nobody is right


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=8), st.data())
def test_majority_is_the_mean_over_all_subsets(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    correct = {"a": 1.0, "b": 0.25, "c": 0.0}

    def vote(subset):
        most = max((subset.count(answer) for answer in correct), default=0)
        tied = [answer for answer in correct if subset.count(answer) == most]
        return sum(correct[answer] for answer in tied) / len(tied) if most else 0.0

    subsets = list(combinations(answers, k))
    votes = tuple((answers.count(answer), value) for answer, value in correct.items() if answer in answers)
    expected = sum(map(vote, subsets)) / len(subsets)
    assert majority_at_k(votes, answers.count(None), k) == pytest.approx(expected)


def test_a_majority_of_many_samples_is_exact():
    # 200 of 201 samples agree: subsets of 101 always hold a majority of them.
    assert majority_at_k(((200, 1.0), (1, 0.0)), 0, 101) == pytest.approx(1.0)


def test_more_samples_than_can_be_counted_are_refused():
    with pytest.raises(ValueError, match="at most 1000 samples"):
        majority_at_k(((1001, 1.0),), 0, 1)
