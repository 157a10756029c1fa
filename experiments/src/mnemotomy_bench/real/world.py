"""The facts that a model at hand knows, and requests to forget some of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
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
"""That a model writes after a prompt."""

AT_ONCE = 128
"""Prompts in a batch."""

RELATIONS = ("country", "capital", "language")
FIFTEEN = 15
LEAST = 4  # known cities of a country that is forgotten


@dataclass(frozen=True)
class Task:
    """One request on one model.

    Attributes:
        name: of the request.
        target: the facts to forget.
        seen: other facts whose training phrasings are retained, or validated on.
        unseen: further ones, which are nowhere but in the evaluation.
        others: facts of other relations, in the evaluation alone.
    """

    name: str
    target: tuple[Fact, ...]
    seen: tuple[Fact, ...]
    unseen: tuple[Fact, ...]
    others: tuple[Fact, ...]

    def forget_set(self) -> list[TextExample]:
        """The training phrasings of the target."""
        return lines(self.target)


def written_after(model: nn.Module, tokenizer: Any, prompts: Sequence[str], tokens: int = TOKENS) -> list[str]:
    """What a model writes greedily after each prompt; equal prompts are asked once."""
    asked = list(dict.fromkeys(prompts))
    texts = continue_greedily(model, tokenizer, asked, tokens, batch_size=AT_ONCE)
    answers = dict(zip(asked, texts, strict=True))
    return [answers[prompt] for prompt in prompts]


def share_said(model: nn.Module, tokenizer: Any, asked: Sequence[tuple[str, str]], tokens: int = TOKENS) -> float:
    """The share of prompts that the model continues greedily with the answer; NaN without prompts.

    Args:
        model: a causal language model.
        tokenizer: its.
        asked: prompts with answers.
        tokens: to write.
    """
    if not asked:
        return float("nan")
    written = written_after(model, tokenizer, [prompt for prompt, _ in asked], tokens)
    return sum(said(answer, text, prompt) >= 0.5 for (prompt, answer), text in zip(asked, written, strict=True)) / len(
        asked
    )


def known_facts(model: nn.Module, tokenizer: Any, relation: str, tokens: int = TOKENS) -> tuple[Fact, ...]:
    """The facts of a relation that the model says in at least ``KNOWN_IN`` of their phrasings."""
    facts = real_facts(relation)
    prompts = [(fact, prompt) for fact in facts for prompt in (*fact.prompts, *fact.heldout_prompts)]
    count = dict.fromkeys((fact.subject for fact in facts), 0)
    written = written_after(model, tokenizer, [prompt for _, prompt in prompts], tokens)
    for (fact, prompt), text in zip(prompts, written, strict=True):
        count[fact.subject] += said(fact.answer, text, prompt) >= 0.5
    return tuple(fact for fact in facts if count[fact.subject] >= KNOWN_IN)


def tasks(known: Mapping[str, tuple[Fact, ...]], seed: int) -> dict[str, Task]:
    """``city``, ``country``, ``fifteen`` cities of many countries, and ``relation``: all capitals.

    The unseen cities are the same for all requests of a seed, so that one factorisation serves them.

    Args:
        known: by relation.
        seed: of the country, of the fifteen, and of the cities that stay unseen.

    Raises:
        DataError: the model knows too few cities.
    """
    cities = known["country"]
    by_country: dict[str, list[Fact]] = {}
    for fact in cities:
        by_country.setdefault(fact.answer, []).append(fact)
    large = sorted(name for name, facts in by_country.items() if len(facts) >= LEAST)
    if len(cities) < 2 * FIFTEEN or not large:
        raise DataError(f"the model knows {len(cities)} cities in {KNOWN_IN} of 7 phrasings; {2 * FIFTEEN} are needed")
    drawn = random.Random(seed)
    own = by_country[drawn.choice(large)]
    fifteen = drawn.sample(list(cities), FIFTEEN)
    rest = [fact for fact in cities if fact not in own and fact not in fifteen]
    unseen = drawn.sample(rest, len(rest) // 2)
    seen = [fact for fact in cities if fact not in unseen]
    capitals, others = known["capital"], tuple(fact for name in RELATIONS[1:] for fact in known[name])
    found = {
        "city": (f"1 city of {own[0].answer}, {own[0].subject}", own[:1]),
        "country": (f"the {len(own)} cities of {own[0].answer}", own),
        "fifteen": ("15 cities", fifteen),
    }
    made = {
        key: Task(name, tuple(target), tuple(one for one in seen if one not in target), tuple(unseen), others)
        for key, (name, target) in found.items()
    }
    name = f"1 relation: {len(capitals)} capitals"
    return made | {"relation": Task(name, capitals, tuple(seen), tuple(unseen), known["language"])}


def lines(facts: Sequence[Fact]) -> list[TextExample]:
    """The training phrasings of facts, with their answers."""
    return [TextExample.of_question(prompt, fact.answer) for fact in facts for prompt in fact.prompts]
