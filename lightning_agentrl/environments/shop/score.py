"""What a purchase is worth: WebShop's task score (arXiv:2207.01206, section 3.2 and the released environment)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from lightning_agentrl.data.shop_catalogue import Product
from lightning_agentrl.data.shop_goals import Goal
from lightning_agentrl.data.shop_words import VALUES

ALIKE = 85
"""Two texts whose `token_set_ratio` is above this count as the same."""


@dataclass(frozen=True)
class Score:
    """A purchase against a goal."""

    r_type: float
    """Whether it is the kind of thing that was asked for: 1, 0.5, 0.1 or 0."""
    attributes: int
    """How many of the wanted attributes it has."""
    options: int
    """How many of the wanted options were chosen."""
    price: bool
    """Whether it costs no more than the limit."""
    wanted: int
    """Number of attributes and options of the goal, and 1 for the price."""

    @property
    def total(self) -> float:
        """r_type · (attributes + options + price) / wanted, in [0, 1]; 1 is success."""
        return self.r_type * (self.attributes + self.options + self.price) / self.wanted


def score(bought: Product, chosen: Mapping[str, str], goal: Goal) -> Score:
    """Score a purchase.

    The goal's product need not be the one that is bought. Deviations from the released code: a title's nouns come with
    the product instead of from a tagger, and leave out the brand; likeness is measured by difflib instead of by edit
    distance; options may change the price.

    Args:
        bought: the product.
        chosen: kind of option → chosen value.
        goal: what was wanted.
    """
    return Score(
        r_type=type_factor(bought, goal.product),
        attributes=sum(_has(bought, wanted) for wanted in goal.attributes),
        options=sum(any(_same_option(value, wanted) for value in chosen.values()) for wanted in goal.options.values()),
        price=bought.cost(chosen) <= goal.price_limit,
        wanted=len(goal.attributes) + len(goal.options) + 1,
    )


def type_factor(bought: Product, wanted: Product) -> float:
    """r_type: how much the kind of a product agrees with the wanted one's.

    With o the share of the wanted title's nouns that the bought title has (0.2 where it has none to compare): 0 for
    o = 0, 0.1 for o < 0.1, otherwise 1 if both belong to one search, or share two categories, or o > 0.2, else 0.5.
    """
    nouns = {noun.lower() for noun in wanted.nouns}
    overlap = len(nouns & {noun.lower() for noun in bought.nouns}) / len(nouns) if nouns else 0.2
    if overlap < 0.1:
        return 0.1 if overlap else 0.0
    shared = len(set(bought.categories) & set(wanted.categories))
    return 1.0 if bought.query == wanted.query or shared >= 2 or overlap > 0.2 else 0.5


def token_set_ratio(one: str, other: str) -> int:
    """Likeness of two texts as sets of words, in percent: 100 where one's words are all among the other's.

    The greatest ratio between what both share, that with the rest of one, and that with the rest of the other, each in
    alphabetical order, rounded to a whole number (as thefuzz has it); 0 where a text has no words.
    """
    words, others = _words(one), _words(other)
    if not words or not others:
        return 0
    shared = " ".join(sorted(words & others))
    first, second = (" ".join(filter(None, [shared, *sorted(rest)])) for rest in (words - others, others - words))
    pairs = [(first, second), *([(shared, first), (shared, second)] if shared else [])]
    return round(100 * max(SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs))


def _has(bought: Product, wanted: str) -> bool:
    """Whether a product says that it has an attribute, in its list or somewhere in its texts."""
    if any(token_set_ratio(attribute, wanted) > ALIKE for attribute in bought.attributes):
        return True
    return any(wanted in text.lower() for text in (bought.title, " ".join(bought.features), bought.description))


def _same_option(value: str, wanted: str) -> bool:
    return token_set_ratio(_basic_color(value), _basic_color(wanted)) > ALIKE


def _basic_color(value: str) -> str:
    """The first color that a value names, for "navy blue" is blue; other values as they are."""
    return next((color for color in VALUES["color"] if color in value), value)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
