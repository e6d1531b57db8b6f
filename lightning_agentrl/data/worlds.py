"""Worlds of facts: what passages say, and the chains of facts that multi-hop questions follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random


@dataclass(frozen=True)
class Fact:
    """``object`` is the only thing that stands in ``relation`` to ``subject``."""

    subject: str
    relation: str
    object: str

    @property
    def sentence(self) -> str:
        """The fact in words."""
        return f"The {self.relation} of {self.subject} is {self.object}."

    @property
    def passage(self) -> str:
        """The fact as a passage. Its title names the subject once more, so that BM25 prefers it for its subject."""
        return f'"{self.subject}"\n{self.sentence}'

    @property
    def query(self) -> str:
        """The canonical search for this fact."""
        return f"{self.relation} of {self.subject}"


Chain = tuple[Fact, ...]
"""Facts of which each one's object is the next one's subject."""


@dataclass(frozen=True)
class World:
    """Facts, passages that state no fact, and which relations ask for a person."""

    facts: tuple[Fact, ...]
    distractors: tuple[str, ...] = ()
    asked_with_who: frozenset[str] = field(default_factory=frozenset)
    """Relations whose objects are people; questions that end in another relation begin with "What"."""

    @property
    def passages(self) -> list[str]:
        """Everything a search can find, facts first and in order."""
        return [fact.passage for fact in self.facts] + list(self.distractors)

    @property
    def pages(self) -> list[str]:
        """The same as pages whose titles do not tell what they say: a fact's is its canonical query."""
        return [f'"{fact.query}"\n{fact.sentence}' for fact in self.facts] + list(self.distractors)

    @cached_property
    def about(self) -> Mapping[str, Sequence[Fact]]:
        """Facts by subject."""
        grouped: dict[str, list[Fact]] = {}
        for fact in self.facts:
            grouped.setdefault(fact.subject, []).append(fact)
        return grouped

    def fact(self, subject: str, relation: str) -> Fact | None:
        """The fact about a subject, if the world has one."""
        return next((fact for fact in self.about.get(subject, ()) if fact.relation == relation), None)

    def chains(self, hops: int, first: Sequence[Fact] | None = None) -> list[Chain]:
        """All chains of ``hops`` facts, or those that begin with given facts.

        A chain never comes back to an entity and uses no relation twice: in "the rival of the mayor of the rival of X"
        the place of a hop could only be found by counting.
        """
        starts = self.facts if first is None else first
        chains: list[Chain] = [(fact,) for fact in starts if fact.object != fact.subject]
        for _ in range(hops - 1):
            chains = [
                (*chain, fact)
                for chain in chains
                for fact in self.about.get(chain[-1].object, ())
                if fact.object not in _entities(chain) and fact.relation not in {used.relation for used in chain}
            ]
        return chains

    def question(self, chain: Chain) -> str:
        """The question that a chain answers, innermost hop last: "Who is the rival of the mentor of Anra?"."""
        phrase = chain[0].subject
        for fact in chain:
            phrase = f"the {fact.relation} of {phrase}"
        return f"{'Who' if chain[-1].relation in self.asked_with_who else 'What'} is {phrase}?"

    def shuffled(self, rng: Random) -> World:
        """The same subjects and passages' form, with objects dealt anew within each relation."""
        objects: dict[str, list[str]] = {}
        for fact in self.facts:
            objects.setdefault(fact.relation, []).append(fact.object)
        for values in objects.values():
            rng.shuffle(values)
        facts = tuple(Fact(fact.subject, fact.relation, objects[fact.relation].pop()) for fact in self.facts)
        return World(facts, self.distractors, self.asked_with_who)


def _entities(chain: Chain) -> set[str]:
    return {chain[0].subject, *(fact.object for fact in chain)}
