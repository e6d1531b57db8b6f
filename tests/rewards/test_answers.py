"""Exact match, token F1 and their normalisation."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from told import answered, value
from torchmetrics.functional.text import squad

from lightning_agentrl.rewards.base import RewardFunction
from lightning_agentrl.rewards.exact_match import ExactMatch, exact_match
from lightning_agentrl.rewards.normalize import Normalisation, mentions, normalized
from lightning_agentrl.rewards.token_f1 import TokenF1, token_f1


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


@pytest.mark.parametrize(
    ("answer", "golden", "f1"),
    [
        ("Barack Obama", ["Barack Hussein Obama"], 0.8),  # precision 1, recall 2/3: 2 · 2/3 / (5/3)
        ("The Eiffel Tower.", ["eiffel tower"], 1.0),
        ("yes", ["yes, it is"], 0.0),
        ("12", ["13", "12.0"], 0.0),  # 12.0 becomes 120
        (r"3\sqrt{3}-6", [r"3\sqrt{3} - 6"], 0.0),  # 3sqrt36 against 3sqrt3 and 6
    ],
)
def test_f1_as_arpo_counts_it(answer: str, golden: list[str], f1: float) -> None:
    assert token_f1(answer, golden, "arpo") == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "golden", "squad", "arpo"),
    [
        ("yes it is", ["yes"], 0.5, 0.0),  # precision 1/3, recall 1; ARPO wants yes alone
        ("no", ["no no"], 2 / 3, 0.0),
        ("yes", ["No", "Yes!"], 1.0, 1.0),
        ("the", ["a"], 1.0, 0.0),  # neither has a word left
        ("yesterday", ["yesterday morning"], 2 / 3, 2 / 3),  # yes is a word, not a prefix
    ],
)
def test_squad_and_arpo_differ_in_yes_no_and_nothing(answer: str, golden: list[str], squad: float, arpo: float) -> None:
    assert (token_f1(answer, golden), token_f1(answer, golden, "arpo")) == pytest.approx((squad, arpo))


@pytest.mark.parametrize(
    ("answer", "golden", "f1"),
    [
        ("new new new", ["new york"], 2 / 3),  # sets: precision 1, recall 1/2
        ("The Eiffel Tower.", ["eiffel tower"], 0.8),  # the article counts: precision 2/3, recall 1
        (r"3\sqrt{3}-6", [r"3\sqrt{3} - 6"], 1.0),  # a mark is a blank
        ("...", ["Kenya"], 0.0),
    ],
)
def test_f1_as_igpo_counts_it(answer: str, golden: list[str], f1: float) -> None:
    assert token_f1(answer, golden, "igpo") == pytest.approx(f1)


@pytest.mark.parametrize(("normalisation", "equal"), [("squad", 1.0), ("arpo", 1.0), ("igpo", 0.0), ("none", 0.0)])
def test_only_some_normalisations_drop_articles(normalisation: Normalisation, equal: float) -> None:
    assert exact_match("the Bodor", ["Bodor"], normalisation) == equal


def test_without_normalisation_multiple_choice_is_told_apart() -> None:
    # Elsewhere the answer A is an article, of which nothing is left; and so it equals any other nothing.
    assert (exact_match("the", ["A"]), exact_match("the", ["A"], "none"), exact_match(" A\n", ["A"], "none")) == (
        1,
        0,
        1,
    )


NORMALISATIONS: list[Normalisation] = ["squad", "arpo", "igpo", "none"]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@given(text=st.text(max_size=40))
def test_normalising_twice_changes_nothing_more(normalisation: Normalisation, text: str) -> None:
    once = normalized(text, normalisation)
    assume(once.lower() == once.lower().lower())  # İ has lower-case forms of lower-case forms
    assert normalized(once, normalisation) == once


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@given(answer=st.text(max_size=20), golden=st.text(max_size=20))
def test_f1_is_symmetric_within_bounds_and_1_for_equal_words(
    normalisation: Normalisation, answer: str, golden: str
) -> None:
    score = token_f1(answer, [golden], normalisation)
    assert 0 <= score <= 1
    assert score == token_f1(golden, [answer], normalisation)
    if normalized(answer, normalisation).split():
        assert token_f1(answer, [answer], normalisation) == 1


@given(text=st.text(alphabet=st.sampled_from(" aAtThHeE.-!?'\"yesno"), max_size=20))
def test_arpo_never_pays_more_than_squad(text: str) -> None:
    for golden in ("yes", "no", "a", "The yes", text):
        assert token_f1(text, [golden], "arpo") <= token_f1(text, [golden])


def test_the_settings_of_both_rewards_reach_the_comparison() -> None:
    trajectory = answered(r"So: \boxed{The Bodor}", "Bodor")
    assert [
        value(ExactMatch(), trajectory),
        value(ExactMatch(boxed=True), trajectory),
        value(ExactMatch("igpo", boxed=True), trajectory),
        value(TokenF1(), trajectory),  # so boxedthe bodor: precision 1/3, recall 1
        value(TokenF1(boxed=True), trajectory),
        value(TokenF1("igpo", boxed=True), trajectory),  # the bodor: precision 1/2, recall 1
    ] == pytest.approx([0, 1, 0, 1 / 2, 1, 2 / 3])


@pytest.mark.parametrize("reward", [ExactMatch(boxed=True), TokenF1(boxed=True)])
def test_an_answer_without_its_box_earns_nothing(reward: RewardFunction) -> None:
    assert value(reward, answered("Bodor", "Bodor")) == 0
