"""A real world: ISO 3166 subdivisions, their regions, countries and codes, from pycountry."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from lightning_agentrl.data.worlds import Fact, World

MAX_HOPS = 3
MAX_NAME = 24
"""Longest name in characters; longer ones make passages that a small policy cannot copy cheaply."""
MAX_FORMAL_NAME = 36


def iso_world() -> World:
    """Subdivision → region → country → code, number and formal name, without any name that means two things.

    Subdivisions that lie in no region are left out unless they are a region: they would add one hop and many passages.
    """
    try:
        import pycountry
    except ImportError as error:
        raise ImportError(
            "The iso world is made from pycountry, which is not installed: pip install lightning-agentrl[data]"
        ) from error
    countries = {country.alpha_2: country for country in pycountry.countries}
    titles = {code: str(getattr(country, "common_name", country.name)) for code, country in countries.items()}
    subdivisions = {subdivision.code: subdivision for subdivision in pycountry.subdivisions}
    clear = _unambiguous([*titles.values(), *(str(subdivision.name) for subdivision in subdivisions.values())])

    facts = []
    located: set[str] = set()
    for _, subdivision in sorted(subdivisions.items()):
        region = subdivisions.get(str(subdivision.parent_code))
        if region is None or not {subdivision.name, region.name, titles[subdivision.country_code]} <= clear:
            continue
        facts.append(Fact(subdivision.name, "region", region.name))
        for inhabited in (subdivision, region):
            if inhabited.name not in located:
                located.add(inhabited.name)
                facts.append(Fact(inhabited.name, "country", titles[inhabited.country_code]))
    for alpha_2, country in sorted(countries.items()):
        title = titles[alpha_2]
        if title not in clear:
            continue
        facts.append(Fact(title, "code", country.alpha_3))
        facts.append(Fact(title, "number", country.numeric))
        formal = str(getattr(country, "official_name", ""))
        if formal and formal != title and len(formal) <= MAX_FORMAL_NAME and "," not in formal:
            facts.append(Fact(title, "formal name", formal))
    return World(tuple(facts))


def _unambiguous(names: Iterable[str]) -> set[str]:
    """Names that stay unique without case and accents, and that are short and free of commas and brackets."""
    names = list(names)
    counts = Counter(_bare(name) for name in names)
    return {
        name for name in names if counts[_bare(name)] == 1 and len(name) <= MAX_NAME and not set(name) & set(',()[]"/')
    }


def _bare(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in decomposed if character.isalnum())
