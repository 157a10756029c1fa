"""Facts to store: three, and those of the bundled world."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from mnemotomy.data.fact import Fact
from mnemotomy.demo.world import small_world
from mnemotomy.store.fact_store import FactStore

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


def change(store: FactStore, statement: str, *values: Any) -> None:
    """Run SQL on the store's file, past the store."""
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute(statement, values)
