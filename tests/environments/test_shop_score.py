"""What a purchase is worth, by pencil."""

from dataclasses import replace
from itertools import combinations

import pytest

from lightning_agentrl.data.shop_catalogue import Product
from lightning_agentrl.data.shop_goals import Goal
from lightning_agentrl.data.shop_words import VALUES
from lightning_agentrl.environments.shop.score import ALIKE, score, token_set_ratio, type_factor

BOOTS = Product(
    id="b1",
    title="orva waterproof hiking boots for women",
    nouns=("hiking", "boots", "women"),
    query="hiking boots",
    categories=("clothing", "shoes", "hiking boots"),
    price=40.0,
    attributes=("waterproof", "wide fit", "vegan"),
    features=("vegan", "wide fit", "made with arch support"),
    description="boots that keep you warm.",
    options={"color": {"red": 0.0, "navy blue": 0.0}, "shoe size": {"8": 0.0, "9": 15.0}},
)
GOAL = Goal(BOOTS, ("waterproof", "vegan"), {"color": "red", "shoe size": "8"}, 50.0)
SANDALS = replace(BOOTS, query="sandals", categories=("clothing", "shoes", "sandals"), nouns=("sandals", "women"))
MUG = replace(BOOTS, query="mug", categories=("home", "kitchen", "mug"), nouns=("mug", "women"), attributes=("vegan",))
LONG = tuple("one two three four five six seven eight nine ten eleven".split())


@pytest.mark.parametrize(
    ("bought", "chosen", "total"),
    [
        (BOOTS, {"color": "red", "shoe size": "8"}, 1.0),  # 1 · (2 + 2 + 1) / 5
        (BOOTS, {"color": "red"}, 0.8),  # (2 + 1 + 1) / 5
        (BOOTS, {}, 0.6),  # (2 + 0 + 1) / 5
        (BOOTS, {"color": "red", "shoe size": "9"}, 0.6),  # (2 + 1 + 0) / 5: 40 + 15 is more than 50
        (replace(BOOTS, price=60.0), {"color": "red", "shoe size": "8"}, 0.8),  # (2 + 2 + 0) / 5
        (replace(BOOTS, attributes=("vegan",), title="boots"), {"color": "red"}, 0.6),  # (1 + 1 + 1) / 5
        (SANDALS, {"color": "red", "shoe size": "8"}, 1.0),  # another kind of shoes: two shared categories
        (MUG, {"color": "red", "shoe size": "8"}, 1.0),  # shares one noun of three: 1/3 > 0.2
        (replace(MUG, nouns=("mug",)), {"color": "red", "shoe size": "8"}, 0.0),  # shares none: 0 · …
    ],
)
def test_the_score_is_the_factor_of_the_kind_times_the_share_of_wishes_met(
    bought: Product, chosen: dict[str, str], total: float
) -> None:
    assert score(bought, chosen, GOAL).total == pytest.approx(total)


@pytest.mark.parametrize(
    ("wanted", "has", "factor"),
    [
        (LONG[:5], LONG[:1], 0.5),  # 1/5 = 0.2 is not above 0.2
        (LONG[:4], LONG[:1], 1.0),  # 1/4
        (LONG[:10], LONG[:1], 0.5),  # 1/10 = 0.1 is not below 0.1
        (LONG, LONG[:1], 0.1),  # 1/11 < 0.1
        (LONG, ("other",), 0.0),
        ((), ("other",), 0.5),  # nothing to compare counts as 0.2
        (("One",), ("ONE",), 1.0),  # in any case
        (("one", "one", "two"), ("two",), 1.0),  # 1/2: a noun that occurs twice counts once
    ],
)
def test_the_factor_of_the_kind_follows_the_nouns_that_titles_share(
    wanted: tuple[str, ...], has: tuple[str, ...], factor: float
) -> None:
    bought = replace(BOOTS, nouns=has, query="x", categories=("a", "b", "c"))
    assert type_factor(bought, replace(BOOTS, nouns=wanted)) == factor


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"query": "hiking boots"}, 1.0),
        ({"categories": ("clothing", "shoes", "x")}, 1.0),
        ({"categories": ("shoes", "x", "clothing")}, 1.0),  # in any order
        ({"categories": ("clothing", "x", "y")}, 0.5),
    ],
)
def test_one_search_or_two_shared_categories_make_the_kind_right(change: dict[str, object], factor: float) -> None:
    other = replace(BOOTS, query="x", categories=("a", "b", "c"), nouns=LONG[:1])
    assert type_factor(replace(other, **change), replace(BOOTS, nouns=LONG[:5])) == factor


def test_the_right_search_does_not_help_a_title_that_shares_nothing() -> None:
    assert type_factor(replace(BOOTS, nouns=("x",)), BOOTS) == 0.0


@pytest.mark.parametrize("wish", ["arch support", "keep you warm", "hiking"])
def test_an_attribute_may_stand_in_features_description_or_title(wish: str) -> None:
    assert score(BOOTS, {}, replace(GOAL, attributes=(wish,))).attributes == 1


def test_an_attribute_that_is_nowhere_does_not_count() -> None:
    assert score(BOOTS, {}, replace(GOAL, attributes=("heated", "vegan"))).attributes == 1


def test_the_shade_of_a_color_does_not_matter() -> None:
    assert score(BOOTS, {"color": "navy blue"}, replace(GOAL, options={"color": "light blue"})).options == 1


def test_two_chosen_options_meet_one_wish_once() -> None:
    goal = replace(GOAL, options={"color": "red"})
    assert score(BOOTS, {"color": "red", "shoe size": "8"}, goal).options == 1


def test_the_limit_of_price_may_be_met_exactly() -> None:
    assert score(replace(BOOTS, price=50.0), {}, GOAL).price


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("long sleeve", "sleeve, long", 100),  # the same words
        ("blue", "navy blue", 100),  # one's words are all among the other's
        ("abcd", "abxy", 50),  # 2 · 2 / (4 + 4): "ab" in both
        ("red", "", 0),
        ("...", "...", 0),  # no words
        ("pack of 6", "pack of 12", 88),  # "of pack" with "of pack 6": 2 · 7 / (7 + 9) = 87.5 %
        ("a" * 29 + "b" * 5, "a" * 29 + "c" * 5, 85),  # 2 · 29 / 68 = 85.3 %: not alike
        ("6 pack", "12 pack", 80),  # "pack" with "pack 6": 2 · 4 / (4 + 6)
    ],
)
def test_likeness_is_that_of_sets_of_words(one: str, other: str, ratio: float) -> None:
    assert token_set_ratio(one, other) == ratio


def test_no_two_values_of_an_option_of_our_shop_count_as_the_same() -> None:
    for values in VALUES.values():
        alike = [pair for pair in combinations(values, 2) if token_set_ratio(*pair) > ALIKE]
        assert not alike
