"""The facts that a model at hand knows, and requests to forget some of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.audit.judging import said
from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.data.real_facts import real_facts
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.text.records import TextExample

KNOWN_IN = 5
"""Of seven phrasings, those in which a model has to say the answer to count as knowing it."""

TOKENS = 6


@dataclass(frozen=True)
class Task:
    """One request on one model.

    Attributes:
        name: of the request.
        target: the facts to forget.
        seen: other facts of the relation, whose training phrasings are retained.
        unseen: further ones, which are nowhere but in the evaluation.
        others: facts of other relations about the subjects of the target or their answers' countries.
    """

    name: str
    target: tuple[Fact, ...]
    seen: tuple[Fact, ...]
    unseen: tuple[Fact, ...]
    others: tuple[Fact, ...]

    def forget_set(self) -> list[TextExample]:
        """The training phrasings of the target."""
        return _lines(self.target)

    def retain_set(self) -> list[TextExample]:
        """The training phrasings of the other facts that are seen."""
        return _lines(self.seen)


def share_said(model: nn.Module, tokenizer: Any, asked: Sequence[tuple[str, str]], tokens: int = TOKENS) -> float:
    """The share of prompts that the model continues greedily with the answer.

    Args:
        model: a causal language model.
        tokenizer: its.
        asked: prompts with answers.
        tokens: to write.
    """
    if not asked:
        return float("nan")
    written = continue_greedily(model, tokenizer, [prompt for prompt, _ in asked], tokens)
    return sum(said(answer, text, prompt) >= 0.5 for (prompt, answer), text in zip(asked, written, strict=True)) / len(
        asked
    )


def known_facts(model: nn.Module, tokenizer: Any, relation: str) -> tuple[Fact, ...]:
    """The facts of a relation that the model says in at least ``KNOWN_IN`` of their phrasings."""
    facts = real_facts(relation)
    prompts = [(fact, prompt) for fact in facts for prompt in (*fact.prompts, *fact.heldout_prompts)]
    written = continue_greedily(model, tokenizer, [prompt for _, prompt in prompts], TOKENS)
    count = dict.fromkeys((fact.subject for fact in facts), 0)
    for (fact, prompt), text in zip(prompts, written, strict=True):
        count[fact.subject] += said(fact.answer, text, prompt) >= 0.5
    return tuple(fact for fact in facts if count[fact.subject] >= KNOWN_IN)


def tasks(known: dict[str, tuple[Fact, ...]], seed: int) -> list[Task]:
    """One city, three cities of one country, all known cities of a country, fifteen cities of many.

    Args:
        known: by relation.
        seed: of what is drawn.

    Raises:
        DataError: the model knows too few cities.
    """
    cities = known["country"]
    if len(cities) < 20:
        raise DataError(f"the model knows {len(cities)} cities in {KNOWN_IN} of 7 phrasings; at least 20 are needed")
    drawn = random.Random(seed)
    by_country: dict[str, list[Fact]] = {}
    for fact in cities:
        by_country.setdefault(fact.answer, []).append(fact)
    country = drawn.choice(sorted(name for name, facts in by_country.items() if len(facts) >= 3))
    own = by_country[country]
    found = {
        f"1 city of {country}": own[:1],
        f"3 cities of {country}": own[:3],
        f"all {len(own)} cities of {country}": own,
        "15 cities": drawn.sample(list(cities), min(15, len(cities) // 2)),
    }
    return [_task(name, target, cities, known, seed) for name, target in found.items()]


def _task(
    name: str, target: Sequence[Fact], cities: Sequence[Fact], known: dict[str, tuple[Fact, ...]], seed: int
) -> Task:
    own = {fact.subject for fact in target}
    rest = [fact for fact in cities if fact.subject not in own]
    random.Random(seed).shuffle(rest)
    third = max(1, len(rest) // 3)
    others = tuple(fact for relation, facts in known.items() if relation != "country" for fact in facts)
    return Task(name, tuple(target), tuple(rest[third:]), tuple(rest[:third]), others)


def _lines(facts: Sequence[Fact]) -> list[TextExample]:
    return [TextExample.of_question(prompt, fact.answer) for fact in facts for prompt in fact.prompts]
