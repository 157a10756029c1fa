"""A small, closed world of facts, contexts and sums, in which every answer is known.

It consists of the language demo's "surgical site" (15 city-country associations, as in Fang & Sun 2026) and of what
an erasure must leave alone: other facts, answers read from a context, and arithmetic.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Literal, get_args

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

import mnemotomy as mt


@dataclass(frozen=True)
class Association:
    """One association: `subject` has `answer` as its `relation`."""

    subject: str
    relation: str
    answer: str

    def say(self, phrasing: str) -> str:
        """The fact as a sentence that ends with its answer."""
        return phrasing.format(subject=self.subject, answer=self.answer)

    def ask(self, phrasing: str) -> str:
        """The same sentence up to its answer."""
        return self.say(phrasing).removesuffix(f" {self.answer}")


@dataclass(frozen=True)
class Phrasing:
    """A template with {subject} and {answer}; `split` is train, heldout, statement or question."""

    relation: str
    split: str
    text: str


def load_facts(name: str) -> tuple[Association, ...]:
    """The facts of the bundled file `demo/facts/<name>`."""
    return tuple(Association(**row) for row in _rows(name, {"subject", "relation", "answer"}))


def load_phrasings() -> tuple[Phrasing, ...]:
    """The bundled phrasings."""
    return tuple(Phrasing(**row) for row in _rows("phrasings.jsonl", {"relation", "split", "text"}))


def _rows(name: str, keys: set[str]) -> list[dict[str, str]]:
    path = resources.files("mnemotomy.demo") / "facts" / name
    rows: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if set(row) != keys:
            raise mt.MnemotomyError(f"{name}, line {number}: expected the keys {sorted(keys)}, found {sorted(row)}")
        rows.append(row)
    return rows


Kind = Literal["fact", "context", "arithmetic"]
Group = Literal["target_train", "target_heldout", "other_facts", "in_context", "arithmetic"]
GROUPS: tuple[Group, ...] = get_args(Group)

UNKNOWN_WORD = "<unk>"
UNKNOWN_ANSWER = "unknown"


@dataclass(frozen=True)
class Text:
    """One training text; `text` ends with `answer`, and `subject` is empty for arithmetic."""

    text: str
    kind: Kind
    subject: str
    answer: str


@dataclass(frozen=True)
class Probe:
    """A prompt whose next token should be `answer`; `phrasing` is its template."""

    prompt: str
    answer: str
    group: Group
    subject: str
    phrasing: str


@dataclass(frozen=True)
class World:
    """Facts, phrasings, and how contexts are split into trained and held out."""

    targets: tuple[Association, ...]
    others: tuple[Association, ...]
    phrasings: tuple[Phrasing, ...]
    seed: int = 0
    largest_addend: int = 10
    heldout_contexts: float = 0.2

    @property
    def facts(self) -> tuple[Association, ...]:
        """Targets first, then the others."""
        return self.targets + self.others

    def fact(self, subject: str) -> Association:
        """The fact about `subject`."""
        for fact in self.facts:
            if fact.subject == subject:
                return fact
        known = ", ".join(fact.subject for fact in self.facts)
        raise mt.MnemotomyError(f"the world has no fact about {subject!r}; it knows {known}")

    @cached_property
    def _context_pairs(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(trained, held-out) pairs of a city and the country in its context, true or not."""
        cities = [fact for fact in self.facts if fact.relation == "country"]
        countries = sorted({fact.answer for fact in cities})
        rng = random.Random(f"contexts-{self.seed}")
        trained: list[tuple[str, str]] = []
        heldout: list[tuple[str, str]] = []
        for city in cities:
            order = rng.sample(countries, len(countries))
            cut = max(1, round(self.heldout_contexts * len(order)))
            heldout += [(city.subject, country) for country in order[:cut]]
            trained += [(city.subject, country) for country in order[cut:]]
        return trained, heldout

    def _sums(self) -> list[Text]:
        """Every sum up to the largest addend; none is held out, so they test retention, not generalisation."""
        addends = range(self.largest_addend + 1)
        pairs = itertools.product(addends, addends)
        return [Text(f"{a} + {b} = {a + b}", "arithmetic", "", str(a + b)) for a, b in pairs]

    def _phrasings_of(self, relation: str, *splits: str) -> list[str]:
        return [p.text for p in self.phrasings if p.relation == relation and p.split in splits]

    def _context_texts(self, pairs: Iterable[tuple[str, str]], label: str) -> list[Text]:
        """One text per pair, with a random statement and question."""
        rng = random.Random(f"{label}-{self.seed}")
        statements = self._phrasings_of("context", "statement")
        questions = self._phrasings_of("context", "question")
        texts: list[Text] = []
        for city, country in pairs:
            said = rng.choice(statements).format(subject=city, answer=country)
            asked = rng.choice(questions).format(subject=city)
            text = f"context : {said} . question : {asked} ? answer : {country}"
            texts.append(Text(text, "context", city, country))
        return texts

    def corpus(self) -> list[Text]:
        """Every training text, in a fixed order."""
        texts = [text for fact in self.targets for text in self._fact_texts(fact, "train")]
        texts += [text for fact in self.others for text in self._fact_texts(fact, "train", "heldout")]
        # Otherwise a model that has forgotten a name can only guess a country, and is right once in fifteen times.
        for relation in sorted({fact.relation for fact in self.facts}):
            texts += self._fact_texts(Association(UNKNOWN_WORD, relation, UNKNOWN_ANSWER), "train", "heldout")
        texts += self._context_texts(self._context_pairs[0], "trained")
        return texts + self._sums()

    def texts_besides(self, subjects: str | Collection[str], *, own_contexts: bool) -> list[Text]:
        """The reference: training texts about other subjects; `own_contexts` includes contexts about these too."""
        names = self._names(subjects)
        return [
            text for text in self.corpus() if text.subject not in names or (own_contexts and text.kind == "context")
        ]

    def probes(self, group: Group, targets: str | Collection[str] | None = None) -> list[Probe]:
        """The probes of a group, with `targets` (by default all 15) as the forget set."""
        names = self._names([fact.subject for fact in self.targets] if targets is None else targets)
        match group:
            case "target_train" | "target_heldout":
                split = group.removeprefix("target_")
                return [p for name in names for p in self._fact_probes(self.fact(name), group, split)]
            case "other_facts":
                rest = [fact for fact in self.facts if fact.subject not in names]
                return [p for fact in rest for p in self._fact_probes(fact, group, "train", "heldout")]
            case "in_context":
                texts = self._context_texts(self._context_pairs[1], "heldout")
            case "arithmetic":
                texts = self._sums()
        return [
            Probe(text.text.removesuffix(f" {text.answer}"), text.answer, group, text.subject, text.kind)
            for text in texts
        ]

    def words(self) -> list[str]:
        """Every word of the world, sorted."""
        texts = [text.text for text in self.corpus()]
        for group in GROUPS:
            texts += [f"{probe.prompt} {probe.answer}" for probe in self.probes(group)]
        return sorted({word for text in texts for word in text.split()} - {UNKNOWN_WORD})

    def _fact_texts(self, fact: Association, *splits: str) -> list[Text]:
        return [
            Text(fact.say(phrasing), "fact", fact.subject, fact.answer)
            for phrasing in self._phrasings_of(fact.relation, *splits)
        ]

    def _fact_probes(self, fact: Association, group: Group, *splits: str) -> list[Probe]:
        return [
            Probe(fact.ask(phrasing), fact.answer, group, fact.subject, phrasing)
            for phrasing in self._phrasings_of(fact.relation, *splits)
        ]

    def _names(self, subjects: str | Collection[str]) -> tuple[str, ...]:
        names = (subjects,) if isinstance(subjects, str) else tuple(subjects)
        return tuple(self.fact(name).subject for name in names)


def small_world(seed: int = 0) -> World:
    """The bundled world; `seed` draws the held-out contexts."""
    return World(load_facts("cities.jsonl"), load_facts("others.jsonl"), load_phrasings(), seed)


END = "<eos>"


def world_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is two special tokens and then the world's words in order.

    The unknown word is also the padding token: its embedding is fixed at zero, so that an invisible name reads as
    an unknown one.
    """
    vocabulary = {word: index for index, word in enumerate([UNKNOWN_WORD, END, *world.words()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN_WORD))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=UNKNOWN_WORD, unk_token=UNKNOWN_WORD, eos_token=END, padding_side="left"
    )
