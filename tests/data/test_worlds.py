"""Worlds, chains and questions."""

from random import Random

import pytest

from lightning_agentrl.data.iso_world import iso_world
from lightning_agentrl.data.questions import draw_questions
from lightning_agentrl.data.synthetic_world import synthetic_world
from lightning_agentrl.data.worlds import Fact, World

FAMILY = World(
    (Fact("Anra", "mentor", "Bodor"), Fact("Bodor", "home", "Caben"), Fact("Caben", "mayor", "Anra")),
    asked_with_who=frozenset({"mentor", "mayor"}),
)


def test_a_question_nests_the_first_hop_innermost() -> None:
    assert FAMILY.question(FAMILY.facts[:2]) == "What is the home of the mentor of Anra?"


def test_a_question_about_a_person_asks_who() -> None:
    assert FAMILY.question(FAMILY.facts[:1]) == "Who is the mentor of Anra?"


def test_no_chain_uses_a_relation_twice() -> None:
    chains = synthetic_world(Random(0)).chains(4)
    assert chains
    assert all(len({fact.relation for fact in chain}) == 4 for chain in chains)


def test_chains_never_come_back_to_an_entity() -> None:
    # Anra → Bodor → Caben → Anra is the only chain of three facts from Anra, and it is a circle.
    assert FAMILY.chains(3) == []


def test_the_same_seed_gives_the_same_world() -> None:
    assert synthetic_world(Random(3)) == synthetic_world(Random(3))


def test_another_seed_gives_other_facts() -> None:
    one, other = set(synthetic_world(Random(3)).facts), set(synthetic_world(Random(4)).facts)
    assert len(one & other) < 0.02 * len(one)  # by chance: 1 in 200 objects of 1 in 1.2 subjects


def test_names_in_a_synthetic_world_are_single_words() -> None:
    assert all(fact.subject.isalpha() and fact.object.isalpha() for fact in synthetic_world(Random(0)).facts)


def test_a_synthetic_world_says_one_thing_about_each_subject_and_relation() -> None:
    world = synthetic_world(Random(0))
    assert len({(fact.subject, fact.relation) for fact in world.facts}) == len(world.facts) == 900  # 300 names × 3


def test_a_world_larger_than_its_pool_of_names_is_refused() -> None:
    with pytest.raises(ValueError, match="352 in all; got 2000 and 1000"):
        synthetic_world(Random(0), people=2000, places=1000)


def test_shuffling_keeps_subjects_and_the_objects_of_each_relation() -> None:
    world = synthetic_world(Random(0))
    shuffled = world.shuffled(Random(1))
    for kept in (lambda fact: (fact.subject, fact.relation), lambda fact: (fact.relation, fact.object)):
        assert sorted(map(kept, shuffled.facts)) == sorted(map(kept, world.facts))


def test_shuffling_changes_nearly_every_object() -> None:
    world = synthetic_world(Random(0))
    assert len(set(world.facts) & set(world.shuffled(Random(1)).facts)) < 0.05 * len(world.facts)


def test_the_iso_world_knows_where_a_region_lies() -> None:
    pytest.importorskip("pycountry")
    world = iso_world()
    path = [fact.object for chain in [("Eure", "region"), ("Normandie", "country"), ("France", "code")]
            if (fact := world.fact(*chain))]  # fmt: skip
    assert path == ["Normandie", "France", "FRA"]


def test_the_iso_world_keeps_unicode_as_it_is() -> None:
    pytest.importorskip("pycountry")
    assert iso_world().fact("Prostějov", "country") == Fact("Prostějov", "country", "Czechia")


def test_no_iso_subject_and_relation_has_two_objects() -> None:
    pytest.importorskip("pycountry")
    facts = iso_world().facts
    assert len({(fact.subject.casefold(), fact.relation) for fact in facts}) == len(facts)


def test_an_ambiguous_name_is_not_in_the_iso_world() -> None:
    pytest.importorskip("pycountry")
    assert "Central" not in iso_world().about  # a subdivision of a dozen countries


def test_depths_take_turns() -> None:
    world = synthetic_world(Random(0))
    questions = draw_questions(world, 10, 4, Random(0), usable=world.facts)
    assert [len(question.chain) for question in questions] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


def test_questions_are_drawn_once() -> None:
    world = synthetic_world(Random(0))
    questions = draw_questions(world, 400, 4, Random(0), usable=world.facts)
    assert len({question.text for question in questions}) == 400


def test_questions_rest_on_usable_facts_only() -> None:
    world = synthetic_world(Random(0))
    usable = world.facts[::2]
    questions = draw_questions(world, 100, 4, Random(0), usable=usable)
    assert all(fact in usable for question in questions for fact in question.chain)


def test_excluded_questions_are_not_drawn() -> None:
    exclude = [FAMILY.question((fact,)) for fact in FAMILY.facts[:2]]
    drawn = draw_questions(FAMILY, 1, 1, Random(0), usable=FAMILY.facts, exclude=exclude)
    assert drawn[0].text == "Who is the mayor of Caben?"


def test_too_many_questions_are_refused_with_the_number_that_can_be_had() -> None:
    with pytest.raises(ValueError, match="only 3 unused questions of 1 hops, but 4"):
        draw_questions(FAMILY, 4, 1, Random(0), usable=FAMILY.facts)
