"""Which facts a model is asked about, and what requests are made of them."""

from __future__ import annotations

from typing import Any

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy.data.real_facts import real_facts, real_relations
from mnemotomy_bench.real import world


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A model that says the country of these cities alone."""
    subjects = {fact.subject for fact in real_facts("country")[::2]}
    answers = {fact.subject: fact.answer for fact in real_facts("country")}

    def write(model: Any, tokenizer: Any, prompts: list[str], tokens: int, batch_size: int) -> list[str]:
        assert len(set(prompts)) == len(prompts)
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
    known = {name: world.known_facts(None, None, name) for name in ("country",)}  # type: ignore[arg-type]
    assert {fact.subject for fact in known["country"]} == knows
    known |= {name: real_facts(name)[:9] for name in ("capital", "language")}
    tasks = world.tasks(known, seed=0)
    assert [len(tasks[name].target) for name in ("city", "fifteen", "relation")] == [1, 15, 9]
    assert len({fact.answer for fact in tasks["country"].target}) == 1
    assert len({task.unseen for task in tasks.values()}) == 1
    for task in tasks.values():
        parts = [{(fact.relation, fact.subject) for fact in part} for part in (task.target, task.seen, task.unseen)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert not set(task.others) & set(task.target)
        assert len(task.forget_set()) == 4 * len(task.target)
    assert len(tasks["city"].seen) + len(tasks["city"].unseen) == len(knows) - 1
    assert world.tasks(known, seed=0) == tasks
    assert len({world.tasks(known, seed=seed)["fifteen"].target for seed in range(3)}) == 3


def test_a_model_that_knows_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="30 are needed"):
        world.tasks({"country": real_facts("country")[:29]}, seed=0)


def test_a_prompt_is_asked_once(knows: set[str]) -> None:
    fact = next(one for one in real_facts("country") if one.subject in knows)
    asked = [fact.prompts[0], "Nowhere is in", fact.prompts[0]]
    first, nowhere, again = world.written_after(None, None, asked)  # type: ignore[arg-type]
    assert first == again == f" {fact.answer}, and"
    assert nowhere == " nowhere"
