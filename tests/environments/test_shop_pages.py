"""The pages of the shop: what can be done on each, and what comes of it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shopping import FRONT, SHOP, follow, follow_from, turn, verdict

from lightning_agentrl.environments.shop.episode import ShopEpisode
from lightning_agentrl.environments.shop.pages import Visit


@pytest.mark.parametrize(
    ("commands", "admissible"),
    [
        ((), {"search[<words>]"}),
        (("search[xyzzy]",), {"click[back to search]"}),
        (("search[mug]", "click[back to search]"), {"search[<words>]"}),
    ],
)
def test_pages_without_products_offer_what_they_should(commands: tuple[str, ...], admissible: set[str]) -> None:
    assert set(FRONT.admissible(follow(FRONT, *commands))) == admissible


def test_results_come_in_pages() -> None:
    first = follow(FRONT, "search[shoes color red]")
    second = follow_from(first, "click[next >]")
    assert "click[< prev]" not in FRONT.admissible(first)
    shown = [{b for b in FRONT.buttons(visit) if b in FRONT.catalogue.by_id} for visit in (first, second)]
    assert [len(ids) for ids in shown] == [4, 4]
    assert not shown[0] & shown[1]
    assert follow_from(second, "click[< prev]") == first


def test_the_last_page_of_results_has_no_next_one() -> None:
    visit = follow(FRONT, "search[color]")
    pages = 1
    while "click[next >]" in FRONT.admissible(visit):
        visit, pages = follow_from(visit, "click[next >]"), pages + 1
    assert pages == -(-len(visit.found) // 4)


def item() -> Visit:
    results = follow(FRONT, "search[hiking boots]")
    return follow_from(results, f"click[{FRONT.buttons(results)[-1]}]")


def test_an_item_offers_its_options_its_texts_and_the_way_back() -> None:
    visit = item()
    assert visit.item is not None
    values = {value for values in visit.item.options.values() for value in values}
    others = {"back to search", "< prev", "description", "features", "buy now"}
    assert set(FRONT.buttons(visit)) == values | others


@pytest.mark.parametrize("page", ["description", "features"])
def test_the_texts_of_an_item_lead_back_to_it(page: str) -> None:
    visit = item()
    value = next(iter(next(iter(visit.item.options.values()))))  # type: ignore[union-attr]
    chosen = follow_from(visit, f"click[{value}]")
    text = follow_from(chosen, f"click[{page}]")
    assert set(FRONT.buttons(text)) == {"back to search", "< prev"}
    assert follow_from(text, "click[< prev]") == chosen


def test_leaving_an_item_forgets_the_chosen_options() -> None:
    visit = item()
    value = next(iter(next(iter(visit.item.options.values()))))  # type: ignore[union-attr]
    results = follow_from(follow_from(visit, f"click[{value}]"), "click[< prev]")
    assert (results.chosen, results.item) == ({}, None)


def test_the_last_choice_of_an_option_counts() -> None:
    visit = item()
    assert visit.item is not None
    kind, values = next(iter(visit.item.options.items()))
    one, two, *_ = values
    assert follow_from(follow_from(visit, f"click[{one}]"), f"click[{two}]").chosen == {kind: two}


def test_the_page_of_an_item_shows_what_was_chosen_and_what_it_costs() -> None:
    visit = next(
        Visit("item", item=product) for product in FRONT.catalogue.products if any(product.options.get("volume", ()))
    )
    assert visit.item is not None
    value, extra = list(visit.item.options["volume"].items())[-1]
    page = FRONT.text(follow_from(visit, f"click[{value}]"))
    assert f"volume {value}:" in page
    assert page != FRONT.text(visit)
    assert f", ${visit.item.price + extra:.2f}\n" in page


@pytest.mark.parametrize(
    "command",
    ["", "buy now", "click[]", "click[buy now]", "search[]", "search[ ]", "search", "look", "search[a", "click[b9999]"],
)
def test_what_cannot_be_done_on_the_search_page_does_nothing(command: str) -> None:
    assert FRONT.act(Visit(), command) is None


def test_one_cannot_search_from_another_page() -> None:
    assert FRONT.act(follow(FRONT, "search[mug]"), "search[tea]") is None


WORDS = st.sampled_from(
    [button for product in FRONT.catalogue.products[:5] for values in product.options.values() for button in values]
    + [product.id for product in FRONT.catalogue.products[:40]]
    + ["back to search", "next >", "< prev", "buy now", "description", "features", "mug", "hiking boots red", "]", ""]
)
COMMANDS = st.one_of(
    st.builds("{}[{}]".format, st.sampled_from(["search", "click"]), WORDS), st.text(max_size=30), st.none()
)


@given(choices=st.lists(st.tuples(COMMANDS, st.integers(0, 99)), max_size=15))
@settings(max_examples=60, deadline=None)
def test_any_walk_stays_in_the_shop(choices: list[tuple[str | None, int]]) -> None:
    """None in a walk is an admissible action; an integer chooses it."""
    task = SHOP.tasks("train")[0]

    async def walk() -> None:
        episode = await SHOP.open(task, 0)
        assert isinstance(episode, ShopEpisode)
        for command, number in choices:
            offered = FRONT.admissible(episode._visit)
            wanted = offered[number % len(offered)] if command is None else command
            heard = await episode.step(turn(wanted.replace("<words>", "red mug")))
            if heard.done:
                break
            assert heard.message
            assert len(heard.message) < 4000
        reward = await verdict(episode, task)
        assert 0.0 <= reward.outcome <= 1.0

    asyncio.run(walk())
