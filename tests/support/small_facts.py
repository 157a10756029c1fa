"""Facts to store: three, and those of the bundled world."""

from __future__ import annotations

from mnemotomy.data.fact import Fact
from mnemotomy.demo.world import small_world

KYOTO = Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto is in Japan.",), ("Kyoto belongs to",), "country")
PARIS = Fact("Paris", "France", contexts=("Paris is in France.",))
ROME = Fact("Rome", "Italy")


def world_facts() -> list[Fact]:
    """The bundled world's facts with all the prompts of its phrasings, each stated once."""
    world = small_world()
    found = []
    for fact in world.facts:
        texts = [phrasing.text for phrasing in world.phrasings if phrasing.relation == fact.relation]
        stated = f"{fact.subject} is in {fact.answer}" if fact.relation == "country" else fact.say(texts[0])
        prompts = tuple(dict.fromkeys(map(fact.ask, texts)))
        found.append(Fact(fact.subject, fact.answer, prompts, (stated,), relation=fact.relation))
    return found
