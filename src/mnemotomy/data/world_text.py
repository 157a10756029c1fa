"""The sentences of the small world (facts, contexts, sums) and the bundled files of facts and phrasings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Association:
    """One association: `subject` has `answer` as its `relation`."""

    subject: str
    relation: str
    answer: str

    def say(self, phrasing: str) -> str:
        """The fact as a sentence that ends in its answer."""
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


def context_text(statement: str, question: str, subject: str, answer: str) -> str:
    """A statement, a question that it answers, and the answer that it gives."""
    said = statement.format(subject=subject, answer=answer)
    asked = question.format(subject=subject)
    return f"context : {said} . question : {asked} ? answer : {answer}"


def arithmetic_text(a: int, b: int) -> str:
    """A sum, each number one word."""
    return f"{a} + {b} = {a + b}"


def load_facts(name: str) -> tuple[Association, ...]:
    """Facts of the bundled file `data/facts/<name>`, one JSON object per line."""
    return tuple(Association(**row) for row in _rows(name, {"subject", "relation", "answer"}))


def load_phrasings() -> tuple[Phrasing, ...]:
    """Phrasings of the bundled file `data/facts/phrasings.jsonl`."""
    return tuple(Phrasing(**row) for row in _rows("phrasings.jsonl", {"relation", "split", "text"}))


def _rows(name: str, keys: set[str]) -> list[dict[str, str]]:
    path = resources.files("mnemotomy.data") / "facts" / name
    rows: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if set(row) != keys:
            raise DataError(f"{name}, line {number}: expected the keys {sorted(keys)}, found {sorted(row)}")
        rows.append(row)
    return rows
