"""The world's associations as facts."""

from __future__ import annotations

from mnemotomy.data.fact import check_facts
from mnemotomy.demo.world import small_world
from mnemotomy_bench.metabolism.world_facts import WORLD_FORMAT, world_facts


def test_the_worlds_facts_are_the_papers_fifteen_with_what_training_needs():
    world = small_world()
    facts = check_facts(world_facts(world))
    assert len(facts) == len({fact.answer for fact in facts}) == 15
    for fact in facts:
        assert len(fact.prompts) == 12
        assert len(fact.heldout_prompts) == 4
        assert not set(fact.prompts) & set(fact.heldout_prompts)
    fruits = [one for one in world.others if one.relation == "colour"]
    assert len(fruits) == 15
    said = WORLD_FORMAT.join(facts[0].contexts[:1], "question : in which country is Kyoto ? answer :")
    assert said == "context : Kyoto is in Japan . question : in which country is Kyoto ? answer :"
