"""Multi-hop questions about a world: drawn evenly over depths, each one once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from lightning_agentrl.data.worlds import Chain, Fact, World


@dataclass(frozen=True)
class Question:
    """A question, and the chain of facts that answers it."""

    text: str
    chain: Chain

    @property
    def answer(self) -> str:
        """What the last fact says."""
        return self.chain[-1].object

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Number of hops, the canonical query of each hop, and the entities on the way."""
        return {
            "hops": len(self.chain),
            "queries": [fact.query for fact in self.chain],
            "path": [self.chain[0].subject, *(fact.object for fact in self.chain)],
        }

    def row(self, id: str) -> dict[str, Any]:
        """The question as a row of the FlashRAG layout."""
        return {"id": id, "question": self.text, "golden_answers": [self.answer], "metadata": dict(self.metadata)}


def draw_questions(
    world: World,
    count: int,
    max_hops: int,
    rng: Random,
    *,
    usable: Sequence[Fact],
    exclude: Collection[str] = (),
) -> list[Question]:
    """Draw ``count`` different questions; depths 1 … ``max_hops`` take turns, in this order.

    Args:
        world: where facts come from.
        count: number of questions.
        max_hops: greatest depth.
        rng: the only source of randomness.
        usable: facts that a question may rest on, for instance those that a search finds.
        exclude: texts of questions that must not be drawn.

    Raises:
        ValueError: a depth has fewer questions than were asked for.
    """
    walkable = replace(world, facts=tuple(usable))
    by_depth = []
    for hops in range(1, max_hops + 1):
        wanted = (count - hops) // max_hops + 1
        questions = _of_depth(walkable, hops, wanted, rng, exclude)
        if len(questions) < wanted:
            raise ValueError(
                f"The world has only {len(questions)} unused questions of {hops} hops, but {wanted} of them are "
                f"needed for {count} questions; ask for at most {len(questions) * max_hops}."
            )
        by_depth.append(questions)
    return [by_depth[number % max_hops][number // max_hops] for number in range(count)]


def _of_depth(world: World, hops: int, wanted: int, rng: Random, exclude: Collection[str]) -> list[Question]:
    """As many questions of one depth as wanted, or all there are.

    Chains are spelled out for as many first facts as questions are wanted, then for as many more, until it suffices:
    a world has tens of thousands of long chains.
    """
    starts = list(world.facts)
    rng.shuffle(starts)
    questions: list[Question] = []
    for begin in range(0, len(starts), max(wanted, 1)):
        chains = world.chains(hops, starts[begin : begin + wanted])
        rng.shuffle(chains)
        for chain in chains:
            if len(questions) == wanted:
                return questions
            if (text := world.question(chain)) not in exclude:
                questions.append(Question(text, chain))
    return questions
