"""Demonstrations of the search task for a cold start: capable at every depth, with one systematic flaw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from lightning_agentrl.data.questions import Question, draw_questions
from lightning_agentrl.data.worlds import Fact, World
from lightning_agentrl.environments.libraries import Library, PassageLibrary, tool_call

__all__ = ["Demonstrator", "make_demonstrations", "tool_call"]


@dataclass(frozen=True)
class Demonstrator:
    """Answers by looking up one hop at a time, and is often too lazy to go on."""

    lazy: float = 0.65
    """Probability of answering after the first hop, in [0, 1]: the systematic flaw that the outcome reward corrects."""
    noise: float = 0.02
    """Probability per hop of looking up a wrong relation of the right entity, in [0, 1]."""

    def __post_init__(self) -> None:
        for name, value in (("lazy", self.lazy), ("noise", self.noise)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability in [0, 1], got {value}.")

    def __call__(
        self, library: Library, question: Question, usable: Collection[Fact], rng: Random
    ) -> list[dict[str, str]]:
        """Messages of one demonstration. Every fact used is one of ``usable``, so that its text is in sight."""
        world = library.world
        messages = [{"role": "user", "content": question.text}]
        entity = question.chain[0].subject
        lazy = rng.random() < self.lazy
        for hop, planned in enumerate(question.chain):
            fact = world.fact(entity, planned.relation)
            if rng.random() < self.noise:
                fact = rng.choice([other for other in world.about.get(entity, ()) if other != fact] or [fact])
            if fact is None or fact not in usable or (hop and lazy):
                break
            for call, result in library.look_up(fact):
                messages += [{"role": "assistant", "content": call}, {"role": "tool", "content": result}]
            entity = fact.object
        return [*messages, {"role": "assistant", "content": f"<answer> {entity} </answer>"}]


def make_demonstrations(
    worlds: Sequence[World],
    count: int,
    demonstrator: Demonstrator,
    rng: Random,
    *,
    top_k: int,
    max_hops: int,
    exclude: Collection[str],
    library: Callable[[World, int], Library] = PassageLibrary,
) -> Iterator[dict[str, Any]]:
    """Rows of ``messages`` and ``metadata``, about the same number from each world, depths taking turns.

    Args:
        worlds: shuffled worlds, so that answers have to be read and cannot be remembered.
        count: number of demonstrations.
        demonstrator: who answers.
        rng: the only source of randomness.
        top_k: results per search.
        max_hops: greatest depth.
        exclude: texts of questions that must not appear.
        library: how a world is shown.
    """
    made = 0
    for place, world in enumerate(worlds):
        shown = library(world, top_k)
        share = (count - made) // (len(worlds) - place)
        usable = shown.findable()
        in_sight = frozenset(usable)
        for question in draw_questions(world, share, max_hops, rng, usable=usable, exclude=exclude):
            messages = demonstrator(shown, question, in_sight, rng)
            yield {"id": f"demonstration-{made}", "messages": messages, "metadata": dict(question.metadata)}
            made += 1
