"""Facts about the real world, in phrasings that their answers continue, to try on pretrained models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from mnemotomy.core.errors import DataError
from mnemotomy.core.yaml import read_yaml
from mnemotomy.data.fact import Fact


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Attributes:
        name: such as ``country``.
        title: in words.
        train: phrasings for the moments; each ends where the answer begins.
        held_out: phrasings for the evaluation alone.
        context: a statement of the fact.
        facts: all of them, with prompts from the phrasings.
    """

    name: str
    title: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    context: str
    facts: tuple[Fact, ...] = ()

    def fact(self, subject: str, answer: str) -> Fact:
        """A fact of this kind."""
        return Fact(
            subject=subject,
            answer=answer,
            prompts=tuple(one.replace("{s}", subject) for one in self.train),
            heldout_prompts=tuple(one.replace("{s}", subject) for one in self.held_out),
            contexts=(self.context.replace("{s}", subject).replace("{a}", answer),),
            relation=self.name,
        )


@cache
def real_relations() -> dict[str, Relation]:
    """The relations by name: the countries of cities; capitals, currencies and languages of countries."""
    text = (resources.files("mnemotomy.data") / "real_facts.yaml").read_text(encoding="utf-8")
    return {name: _relation(name, entry) for name, entry in read_yaml(text).items()}


def real_facts(relation: str) -> tuple[Fact, ...]:
    """The facts of one relation.

    Raises:
        DataError: there is no such relation.
    """
    relations = real_relations()
    if relation not in relations:
        raise DataError(f"there are no facts about {relation!r}; choose among {', '.join(relations)}")
    return relations[relation].facts


def _relation(name: str, entry: dict[str, object]) -> Relation:
    train, held_out = (tuple(map(str, entry[key])) for key in ("train", "held_out"))  # type: ignore[call-overload]
    empty = Relation(name, str(entry["title"]), train, held_out, str(entry["context"]))
    pairs = [(subject, answer) for answer, subjects in entry["facts"].items() for subject in subjects]  # type: ignore[attr-defined]
    return replace(empty, facts=tuple(empty.fact(subject, answer) for subject, answer in pairs))
