"""A made-up shop's products, drawn from a seed: titles, attributes, options that cost more or less, prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from lightning_agentrl.data.shop_words import DEARER, KINDS, USES, VALUES, Kind, brands, ids


@dataclass(frozen=True)
class Product:
    """Something to buy."""

    id: str
    """Its button, where WebShop has an ASIN."""
    title: str
    nouns: tuple[str, ...]
    """Nouns of the title, brand left out; what titles are compared by."""
    query: str
    """The search that the product belongs to: the name of its kind."""
    categories: tuple[str, ...]
    """From the widest to the narrowest."""
    price: float
    """In dollars, before options."""
    attributes: tuple[str, ...]
    features: tuple[str, ...]
    """Lines of its page of features."""
    description: str
    options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Kind of option → value → by how many dollars the value changes the price."""

    def cost(self, chosen: Mapping[str, str]) -> float:
        """The price with these values of options, in dollars."""
        return round(self.price + sum(self.options[kind][value] for kind, value in chosen.items()), 2)

    @property
    def text(self) -> str:
        """What a search looks through."""
        values = (value for kind in self.options.values() for value in kind)
        return " ".join([self.title, *self.features, self.description, *values])


@dataclass(frozen=True)
class Catalogue:
    """Products by number, and by id."""

    products: tuple[Product, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Product]:
        """Products by id."""
        return {product.id: product for product in self.products}


def make_catalogue(count: int, rng: Random) -> Catalogue:
    """Draw products, about the same number of every kind.

    Args:
        count: number of products, from 1 to 9000: there are not many more names of buttons.
        rng: the only source of randomness.
    """
    if not 1 <= count <= 9000:
        raise ValueError(f"A catalogue has 1 to 9000 products, got {count}.")
    buttons = rng.sample(ids(), count)
    kinds = [KINDS[place % len(KINDS)] for place in range(count)]
    rng.shuffle(kinds)
    names = brands()
    return Catalogue(tuple(_product(id, kind, names, rng) for id, kind in zip(buttons, kinds, strict=True)))


def _product(id: str, kind: Kind, names: Sequence[str], rng: Random) -> Product:
    attributes = tuple(rng.sample(kind.attributes, 3))
    uses = rng.sample(USES, rng.randint(1, 2))
    brand = rng.choice(names)
    title = f"{brand} {attributes[0]} {kind.name} for {' and '.join(uses)}"
    return Product(
        id=id,
        title=title,
        nouns=(*kind.name.split(), *uses),
        query=kind.name,
        categories=kind.categories,
        price=round(rng.randint(*kind.prices) - rng.choice((0.01, 0.05, 0.5)), 2),
        attributes=attributes,
        features=tuple(rng.sample(attributes, 3)),
        description=f"{kind.name} by {brand}, {attributes[1]}; a good choice for {uses[0]}.",
        options={option: _values(option, rng) for option in kind.options},
    )


def _values(option: str, rng: Random) -> dict[str, float]:
    """Two to four of the values in their order, the first of them at the basic price."""
    values = VALUES[option]
    chosen = sorted(rng.sample(range(len(values)), rng.randint(2, min(4, len(values)))))
    step = DEARER.get(option, 0)
    return {values[place]: float(step * (place - chosen[0])) for place in chosen}
