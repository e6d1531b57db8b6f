"""The made-up shop's products and goals."""

from dataclasses import replace
from random import Random

import pytest

from lightning_agentrl.data.shop_catalogue import Catalogue, Product, make_catalogue
from lightning_agentrl.data.shop_goals import Goal, draw_goals
from lightning_agentrl.data.shop_words import ATTRIBUTES, KINDS, OPTIONS, VALUES

MUG = Product(
    id="b1",
    title="alco insulated coffee mug for home",
    nouns=("coffee", "mug", "home"),
    query="coffee mug",
    categories=("home", "kitchen", "coffee mug"),
    price=9.99,
    attributes=("insulated", "bpa free", "stackable"),
    features=("stackable",),
    description="a mug.",
    options={"color": {"red": 0.0, "blue": 0.0}, "volume": {"8 oz": 0.0, "16 oz": 6.0}},
)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return make_catalogue(300, Random(0))


def test_the_same_seed_gives_the_same_products(catalogue: Catalogue) -> None:
    assert make_catalogue(300, Random(0)) == catalogue != make_catalogue(300, Random(1))


def test_ids_are_buttons_that_occur_once(catalogue: Catalogue) -> None:
    assert len(catalogue.by_id) == 300
    assert all(id == id.lower() and len(id) == 4 for id in catalogue.by_id)


def test_every_kind_has_about_as_many_products_as_any_other(catalogue: Catalogue) -> None:
    kinds = [product.query for product in catalogue.products]
    assert {kinds.count(kind.name) for kind in KINDS} == {300 // len(KINDS), 300 // len(KINDS) + 1}


def test_every_group_has_attributes_and_options_with_values() -> None:
    groups = {kind.group for kind in KINDS}
    assert set(ATTRIBUTES) == set(OPTIONS) == groups
    assert {option for options in OPTIONS.values() for option in options} == set(VALUES)


def test_no_button_of_an_item_stands_for_two_options(catalogue: Catalogue) -> None:
    for product in catalogue.products:
        values = [value for values in product.options.values() for value in values]
        assert len(values) == len(set(values))
        assert not set(values) & {"description", "features", "buy now", "< prev", "back to search"}


def test_each_attribute_can_be_read_on_the_page_of_features(catalogue: Catalogue) -> None:
    assert all(set(product.attributes) == set(product.features) for product in catalogue.products)


def test_a_dearer_option_raises_the_price() -> None:
    # 9.99 + 0 + 6.00
    assert MUG.cost({"color": "red", "volume": "16 oz"}) == 15.99


@pytest.mark.parametrize("count", [0, 9001])
def test_a_catalogue_that_has_no_ids_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 9000 products"):
        make_catalogue(count, Random(0))


def test_goals_are_all_different(catalogue: Catalogue) -> None:
    goals = draw_goals(catalogue, 2000, Random(0))
    assert len({goal.identity for goal in goals}) == 2000


def test_goals_that_differ_in_price_or_order_alone_are_one_goal() -> None:
    goal = Goal(MUG, ("insulated", "bpa free"), {"color": "red"}, 20.0)
    assert replace(goal, price_limit=30.0, attributes=("bpa free", "insulated")).identity == goal.identity


def test_goals_that_differ_in_what_is_bought_are_different() -> None:
    goal = Goal(MUG, ("insulated",), {"color": "red"}, 20.0)
    assert replace(goal, options={"color": "blue"}).identity != goal.identity
    assert replace(goal, attributes=("bpa free",)).identity != goal.identity
    assert replace(goal, product=replace(MUG, id="b2")).identity != goal.identity


def test_the_limit_of_price_lies_one_to_four_steps_above_the_wanted_options(catalogue: Catalogue) -> None:
    for goal in draw_goals(catalogue, 500, Random(0)):
        above = goal.price_limit - goal.product.cost(goal.options)
        assert 10 < above <= 40  # the larger of two of the next four multiples of 10
        assert goal.price_limit % 10 == 0


def test_goals_ask_for_no_one_and_two_options_about_equally_often(catalogue: Catalogue) -> None:
    goals = [goal for goal in draw_goals(catalogue, 3000, Random(0)) if len(goal.product.options) == 2]
    counts = [sum(len(goal.options) == number for goal in goals) / len(goals) for number in range(3)]
    assert min(counts) > 0.25  # a third each; goals without options repeat and are dropped more often


def test_an_instruction_names_all_that_is_wanted() -> None:
    goal = Goal(MUG, ("insulated", "bpa free"), {"color": "red", "volume": "8 oz"}, 20.0)
    assert goal.instruction == (
        "Find me insulated, bpa free coffee mug with color: red, and volume: 8 oz, and price lower than 20.00 dollars"
    )


def test_an_instruction_without_options_has_none() -> None:
    assert Goal(MUG, ("insulated",), {}, 20.0).instruction == (
        "Find me insulated coffee mug, and price lower than 20.00 dollars"
    )


def test_more_goals_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="make a larger catalogue"):
        draw_goals(Catalogue((MUG,)), 500, Random(0))
