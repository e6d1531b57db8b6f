"""Exact match, token F1 and their normalisation."""

import pytest
from torchmetrics.functional.text import squad

from lightning_agentrl.rewards.exact_match import exact_match
from lightning_agentrl.rewards.normalize import mentions
from lightning_agentrl.rewards.token_f1 import token_f1


@pytest.mark.parametrize("answer", ["bodor", " Bodor. ", "the Bodor", "BODOR!"])
def test_case_articles_and_punctuation_do_not_matter(answer: str) -> None:
    assert exact_match(answer, ["Bodor"]) == 1.0


def test_any_accepted_answer_counts() -> None:
    assert exact_match("Tōkyō", ["東京", "Tōkyō"]) == 1.0


def test_accents_matter() -> None:
    assert exact_match("Tokyo", ["Tōkyō"]) == 0.0


@pytest.mark.parametrize("metric", [exact_match, token_f1])
def test_no_answer_earns_nothing(metric) -> None:
    assert metric(None, ["Bodor"]) == 0.0


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    # "republic of kenya" against "kenya": precision 1/3, recall 1, F1 = 2 · 1/3 / (4/3) = 1/2.
    assert token_f1("Republic of Kenya", ["Kenya"]) == pytest.approx(0.5)


def test_f1_takes_the_best_accepted_answer() -> None:
    assert token_f1("Republic of Kenya", ["Kenya", "the Republic of Kenya"]) == 1.0


def test_f1_counts_a_repeated_word_once_per_occurrence() -> None:
    # One of three "new" is matched: precision 1/3, recall 1/2, F1 = 2/5.
    assert token_f1("new new new", ["new york"]) == pytest.approx(0.4)


@pytest.mark.parametrize("answer", ["Republic of Kenya", "kenya", "", "the", "new new york", "Tōkyō"])
@pytest.mark.parametrize("golden", [["Kenya"], ["the Republic of Kenya", "Kenya"], ["New York"], ["The"]])
def test_both_agree_with_torchmetrics(answer: str, golden: list[str]) -> None:
    target = {"answers": {"answer_start": [0] * len(golden), "text": golden}, "id": "1"}
    reference = squad({"prediction_text": answer, "id": "1"}, target)
    ours = (100 * exact_match(answer, golden), 100 * token_f1(answer, golden))
    assert ours == pytest.approx((reference["exact_match"].item(), reference["f1"].item()))


def test_a_mention_is_whole_words() -> None:
    text = '"Anra"\nThe mentor of Anra is Bodorix.'
    assert (mentions(text, "Bodorix"), mentions(text, "Bodor")) == (True, False)


def test_an_answer_without_words_is_mentioned_nowhere() -> None:
    assert not mentions("The mentor.", "the")
