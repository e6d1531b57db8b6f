"""What a made-up shop sells: kinds of products with the words, options and prices that they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of product, such as hiking boots."""

    name: str
    group: str
    department: str
    prices: tuple[int, int]
    """Least and greatest basic price, in dollars."""

    @property
    def categories(self) -> tuple[str, str, str]:
        """From the widest to the narrowest."""
        return (self.department, self.group, self.name)

    @property
    def attributes(self) -> tuple[str, ...]:
        """What products of this kind may be."""
        return ATTRIBUTES[self.group]

    @property
    def options(self) -> tuple[str, ...]:
        """What a buyer may choose."""
        return OPTIONS[self.group]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "shoes": _listed("waterproof, lightweight, non slip, memory foam, arch support, wide fit, vegan, quick drying"),
    "jackets": _listed("waterproof, hooded, insulated, packable, machine washable, windproof, slim fit, reflective"),
    "tops": _listed("long sleeve, short sleeve, loose fit, slim fit, organic cotton, crew neck, machine washable"),
    "audio": _listed("noise cancelling, long battery, fast charging, hands free, heavy bass, foldable, sweat proof"),
    "gadgets": _listed("fast charging, shock proof, slim, foldable, heavy duty, easy to install, magnetic"),
    "bedding": _listed("hypoallergenic, machine washable, cooling, wrinkle free, organic cotton, weighted, quilted"),
    "kitchen": _listed("dishwasher safe, stainless steel, leak proof, non stick, insulated, bpa free, stackable"),
    "furniture": _listed("easy to assemble, space saving, adjustable, solid wood, foldable, heavy duty, scratch proof"),
    "skin care": _listed("fragrance free, cruelty free, paraben free, anti aging, natural, oil free, hydrating, vegan"),
    "hair care": _listed("sulfate free, cruelty free, color safe, anti dandruff, natural, volumizing, argan, vegan"),
    "snacks": _listed("gluten free, low sodium, sugar free, organic, high protein, nut free, dairy free, keto"),
    "drinks": _listed("caffeine free, organic, sugar free, fair trade, dark roast, unsweetened, herbal, decaf"),
    "outdoor": _listed("waterproof, lightweight, foldable, heavy duty, non slip, easy to carry, windproof, inflatable"),
}
"""By group."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "shoes": ("color", "shoe size"),
    "jackets": ("color", "size"),
    "tops": ("color", "size"),
    "audio": ("color",),
    "gadgets": ("color", "length"),
    "bedding": ("color", "bed size"),
    "kitchen": ("color", "volume"),
    "furniture": ("color",),
    "skin care": ("scent", "volume"),
    "hair care": ("scent", "volume"),
    "snacks": ("flavor", "pack"),
    "drinks": ("flavor", "pack"),
    "outdoor": ("color",),
}
"""Kinds of options by group."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "color": _listed("red, blue, green, black, white, gray, brown, pink, purple, orange, yellow, beige"),
    "scent": _listed("lavender, citrus, vanilla, rose, coconut, mint, jasmine, almond"),
    "flavor": _listed("honey, lemon, cinnamon, ginger, cherry, peach, hazelnut, maple"),
    "size": _listed("small, medium, large, xl"),
    "shoe size": _listed("6, 7, 8, 9, 10, 11, 12"),
    "bed size": _listed("twin, full, queen, king"),
    "length": _listed("3 ft, 6 ft, 9 ft"),
    "volume": _listed("8 oz, 12 oz, 16 oz, 24 oz"),
    "pack": _listed("single pack, 6 pack, 12 pack"),
}
"""Values of each kind of option, the cheapest first where they differ in price."""

DEARER: Mapping[str, int] = {"size": 2, "bed size": 8, "length": 2, "volume": 3, "pack": 5}
"""By how many dollars each step up costs more; other kinds of options cost nothing."""

KINDS = tuple(
    Kind(name, group, department, prices)
    for department, group, prices, names in (
        ("clothing", "shoes", (25, 120), "hiking boots, running shoes, rain boots, walking sandals"),
        ("clothing", "jackets", (30, 180), "rain jacket, down jacket, fleece vest, ski parka"),
        ("clothing", "tops", (8, 50), "polo shirt, pullover sweater, zip hoodie, tank top"),
        ("electronics", "audio", (15, 200), "wireless headphones, sport earbuds, bluetooth speaker"),
        ("electronics", "gadgets", (5, 40), "phone charger, tablet stand, camera cable, laptop sleeve"),
        ("home", "bedding", (15, 150), "bed pillow, throw blanket, sheet set"),
        ("home", "kitchen", (8, 60), "coffee mug, water bottle, lunch box, frying pan"),
        ("home", "furniture", (20, 250), "desk lamp, office chair, side table, book shelf"),
        ("beauty", "skin care", (5, 45), "face cream, body lotion, lip balm"),
        ("beauty", "hair care", (5, 40), "hair shampoo, hair conditioner, beard oil"),
        ("food", "snacks", (3, 30), "trail mix, granola bars, potato chips, rice crackers"),
        ("food", "drinks", (4, 35), "green tea, ground coffee, fruit juice"),
        ("sports", "outdoor", (15, 220), "camping tent, sleeping bag, yoga mat, bike helmet"),
    )
    for name in _listed(names)
)

USES = _listed("men, women, kids, travel, home, office, gifts, parties, students, summer, winter, sports")
"""What or whom a title may say a product is for."""

FIRST = "al bre cor da el fen gal hol is jun kel lum mar nor or pel quo ros sel tur".split()
LAST = "a by co do en ia ley mo na ry sa ton va wick yo".split()


def brands() -> list[str]:
    """Every made-up brand, in a fixed order."""
    return [first + last for first in FIRST for last in LAST]


def ids() -> list[str]:
    """Every name of a button for a product, in a fixed order.

    Two syllables, which a tiny policy copies more easily than the letters and digits of an ASIN.
    """
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwxyz" for vowel in "aeiou"]
    taken = {value for values in VALUES.values() for value in values}
    return [id for one in syllables for other in syllables if (id := one + other) not in taken]
