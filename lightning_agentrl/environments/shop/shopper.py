"""Demonstrations of shopping for a cold start: capable of every step, with one systematic flaw."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from lightning_agentrl.data.shop_catalogue import Product, make_catalogue
from lightning_agentrl.data.shop_goals import Goal, draw_goals
from lightning_agentrl.environments.shop.episode import message
from lightning_agentrl.environments.shop.pages import BUY, NEXT, Shopfront, Visit
from lightning_agentrl.environments.shop.score import score

PER_CATALOGUE = 1000
"""Demonstrations in each made-up shop."""
PATIENCE = 2
"""Pages of results that are looked through."""


@dataclass(frozen=True)
class Shopper:
    """Searches, looks through the results and buys, often in too much of a hurry to choose the options."""

    count: int = 4000
    """Number of demonstrations."""
    hasty: float = 0.65
    """Probability of buying without choosing any option, in [0, 1]: the systematic flaw that the score corrects."""

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.hasty <= 1:
            raise ValueError(f"A shopper needs a count of at least 1 and hasty in [0, 1], got {self}.")

    def goals(
        self, products: int, page_size: int, exclude: Collection[str], rng: Random
    ) -> Iterator[tuple[Shopfront, Goal]]:
        """Goals to demonstrate, in shops of their own, so that pages have to be read and cannot be remembered.

        Args:
            products: number of products in each shop.
            page_size: products on a page of results.
            exclude: instructions that must not appear.
            rng: the only source of randomness.
        """
        for made in range(0, self.count, PER_CATALOGUE):
            front = Shopfront(make_catalogue(products, rng), page_size)
            wanted = min(PER_CATALOGUE, self.count - made)
            drawn = draw_goals(front.catalogue, 2 * wanted + len(exclude), rng)
            allowed = (goal for goal in drawn if goal.instruction not in exclude and _route(front, goal) is not None)
            yield from ((front, goal) for goal in islice(allowed, wanted))

    def visit(self, front: Shopfront, goal: Goal, rng: Random, list_actions: bool) -> Iterator[dict[str, str]]:
        """Messages that follow the prompt, up to the purchase."""
        route = _route(front, goal)
        assert route is not None, "`goals` gives none without"
        hasty = rng.random() < self.hasty
        options = [] if hasty else [f"click[{value}]" for value in goal.options.values()]
        visit = Visit()
        for command in (*route, *options, f"click[{BUY}]"):
            yield {"role": "assistant", "content": f"<action>{command}</action>"}
            then = front.act(visit, command)
            assert then is not None, command
            visit = then
            if visit.page != "bought":
                yield {"role": "user", "content": message(front, visit, list_actions)}


def _route(front: Shopfront, goal: Goal) -> list[str] | None:
    """Commands to the first product found that meets a goal; None if it is not on the first pages."""
    words = (*goal.attributes, goal.product.query, *goal.options.values())
    search = f"search[{' '.join(words)}]"
    results = front.act(Visit(), search)
    assert results is not None
    found = [front.catalogue.products[number] for number in results.found[: PATIENCE * front.page_size]]
    place = next((place for place, product in enumerate(found) if _meets(product, goal)), None)
    if place is None:
        return None
    return [search, *[f"click[{NEXT}]"] * (place // front.page_size), f"click[{found[place].id}]"]


def _meets(product: Product, goal: Goal) -> bool:
    """Whether buying the product with the wanted options would score 1."""
    offered = all(value in product.options.get(kind, ()) for kind, value in goal.options.items())
    return offered and score(product, goal.options, goal).total == 1
