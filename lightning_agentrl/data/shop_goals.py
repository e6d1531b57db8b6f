"""What customers of a made-up shop want: instructions, and splits that share no goal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from random import Random

from lightning_agentrl.data.shop_catalogue import Catalogue, Product

PRICE_STEP = 10
"""Limits of price are whole multiples of this many dollars, as in WebShop."""


@dataclass(frozen=True)
class Goal:
    """What is to be bought, drawn from a product that meets it."""

    product: Product
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    """Kind of option → value."""
    price_limit: float
    """In dollars; meeting it is all right."""

    @property
    def identity(self) -> Hashable:
        """Two goals with equal identity are one goal, whatever price was drawn."""
        return (self.product.id, frozenset(self.attributes), frozenset(self.options.items()))

    @property
    def instruction(self) -> str:
        """What the customer says."""
        options = ", and ".join(f"{kind}: {value}" for kind, value in self.options.items())
        wanted = f"Find me {', '.join(self.attributes)} {self.product.query}{' with ' if options else ''}{options}"
        return f"{wanted}, and price lower than {self.price_limit:.2f} dollars"


def draw_goals(catalogue: Catalogue, count: int, rng: Random) -> list[Goal]:
    """Draw goals, no two with one identity, that ask for none, some and all kinds of options about equally often.

    Any prefix and the rest of the list share no goal, so cutting the list once makes splits without a leak.

    Args:
        catalogue: where a product meets each goal.
        count: number of goals.
        rng: the only source of randomness.

    Raises:
        ValueError: when the catalogue has hardly so many goals.
    """
    goals: dict[Hashable, Goal] = {}
    for _ in range(50 * count):
        if len(goals) == count:
            break
        goal = _goal(rng.choice(catalogue.products), rng)
        goals.setdefault(goal.identity, goal)
    else:
        raise ValueError(f"{len(catalogue.products)} products have hardly {count} goals; make a larger catalogue.")
    return list(goals.values())


def _goal(wanted: Product, rng: Random) -> Goal:
    attributes = tuple(rng.sample(wanted.attributes, rng.randint(1, 2)))
    kinds = list(wanted.options)
    asked = sorted(rng.sample(range(len(kinds)), rng.randint(0, len(kinds))))
    options = {kinds[place]: rng.choice(list(wanted.options[kinds[place]])) for place in asked}
    return Goal(wanted, attributes, options, _limit(wanted.cost(options), rng))


def _limit(price: float, rng: Random) -> float:
    """The second, third or fourth multiple of the step above a price, as WebShop's two draws of four give it."""
    next_steps = [PRICE_STEP * (int(price // PRICE_STEP) + ahead) for ahead in (1, 2, 3, 4)]
    return float(max(rng.sample(next_steps, 2)))
