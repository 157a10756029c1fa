"""Which facts a model is asked about, and what requests are made of them."""

from __future__ import annotations

from typing import Any

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy.data.real_facts import real_facts, real_relations
from mnemotomy_bench.real import world
from mnemotomy_bench.real.show import tables_of


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A model that says the country of these cities alone."""
    subjects = {fact.subject for fact in real_facts("country")[::2]}
    answers = {fact.subject: fact.answer for fact in real_facts("country")}

    def write(model: Any, tokenizer: Any, prompts: list[str], tokens: int) -> list[str]:
        return [next((f" {answers[s]}, and" for s in subjects if s in prompt), " nowhere") for prompt in prompts]

    monkeypatch.setattr(world, "continue_greedily", write)
    return subjects


def test_there_are_enough_facts() -> None:
    assert len(real_facts("country")) >= 80
    assert sum(len(one.facts) for one in real_relations().values()) >= 200
    for relation in real_relations().values():
        subjects = [fact.subject for fact in relation.facts]
        assert len(subjects) == len(set(subjects))
        assert not set(relation.train) & set(relation.held_out)
    with pytest.raises(DataError, match="choose among country"):
        real_facts("river")


def test_only_known_facts_are_used_and_sets_are_disjoint(knows: set[str]) -> None:
    cities = world.known_facts(None, None, "country")  # type: ignore[arg-type]
    assert {fact.subject for fact in cities} == knows
    tasks = world.tasks({"country": cities}, seed=0)
    assert [len(task.target) for task in tasks][:2] == [1, 3]
    assert len(tasks[3].target) == 15
    for task in tasks:
        parts = [{fact.subject for fact in part} for part in (task.target, task.seen, task.unseen)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(knows)
        assert len(task.forget_set()) == 4 * len(task.target)
    assert world.tasks({"country": cities}, seed=0) == tasks


def test_a_model_that_knows_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="at least 20"):
        world.tasks({"country": real_facts("country")[:9]}, seed=0)


def test_the_share_of_answers_said(knows: set[str]) -> None:
    fact = next(one for one in real_facts("country") if one.subject in knows)
    asked = [(fact.prompts[0], fact.answer), ("Nowhere is in", "Atlantis")]
    assert world.share_said(None, None, asked) == 0.5  # type: ignore[arg-type]


def test_a_table_for_each_request() -> None:
    numbers = dict.fromkeys(["target", "target_heldout", "unseen", "context"], 0.5)
    rows = [{"request": name, "seed": 0, "facts": 1, "edit": "before", **numbers} for name in ("1 city", "15 cities")]
    assert next(table.caption for table in tables_of(rows)) == "1 city, 1 facts, seed 0 (% of prompts)"
