"""A generated world of people and places with made-up names."""

from __future__ import annotations

from random import Random

from lightning_agentrl.data.worlds import Fact, World

FIRST = "An Bo Ca Do El Fi Ga Hu Iv Jo Ka Lu Mi No Ol Pa Re Sa Te Ur Vi Ze".split()
LAST = "ra ben dy lio mas nor ped qui rix sol tan vex gul fam hod jic".split()

PEOPLE_RELATIONS = {"mentor": "person", "rival": "person", "birthplace": "place"}
PLACE_RELATIONS = {"mayor": "person", "founder": "person", "twin": "place"}
"""Relations that people and places have, and the kind of their objects."""

DISTRACTORS = (
    '"{a}"\n{a} met the {relation} of {b}.',
    '"{a}"\n{b} asked {a} about a {relation}.',
    '"{a}"\n{a} is not the {relation} of {b}.',
)

MAX_HOPS = 4


def name_pool() -> list[str]:
    """Every name, in a fixed order: two syllables, which a tiny vocabulary can hold as two tokens."""
    return [first + last for first in FIRST for last in LAST]


def synthetic_world(rng: Random, *, people: int = 200, places: int = 100, distractors: int = 300) -> World:
    """Draw a world: who and what exist, every relation of each of them, and passages that only sound relevant.

    Args:
        rng: the only source of randomness.
        people: number of people, at least 3.
        places: number of places, at least 3.
        distractors: number of passages that share words with facts but state none.
    """
    pool = name_pool()
    if min(people, places) < 3 or people + places > len(pool):
        raise ValueError(f"A world needs 3 or more people and places, {len(pool)} in all; got {people} and {places}.")
    names = rng.sample(pool, people + places)
    members = {"person": names[:people], "place": names[people:]}
    facts = []
    for kind, relations in (("person", PEOPLE_RELATIONS), ("place", PLACE_RELATIONS)):
        for subject in members[kind]:
            for relation, object_kind in relations.items():
                others = [name for name in rng.sample(members[object_kind], 2) if name != subject]
                facts.append(Fact(subject, relation, others[0]))
    kinds = {**PEOPLE_RELATIONS, **PLACE_RELATIONS}
    noise = []
    for number in range(distractors):
        a, b = rng.sample(names, 2)
        noise.append(DISTRACTORS[number % len(DISTRACTORS)].format(a=a, b=b, relation=rng.choice(list(kinds))))
    who = frozenset(relation for relation, kind in kinds.items() if kind == "person")
    return World(tuple(facts), tuple(noise), who)
