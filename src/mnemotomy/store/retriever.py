"""The interface of a searchable store of facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact


@dataclass(frozen=True)
class Hit:
    """A fact that a search found.

    Attributes:
        fact: the stored fact.
        score: ranks hits, larger is better; comparable only within one search.
        relevance: how much of the question the fact accounts for, at most 1; comparable between searches. It compares
            words (or vectors), so a fact about another side of the same subject can have 1.
    """

    fact: Fact
    score: float
    relevance: float


class Retriever(Protocol):
    """A searchable store of facts; ``FactStore`` documents the methods."""

    def add(self, facts: Iterable[Fact]) -> int: ...
    def update(self, fact: Fact) -> Fact: ...
    def delete(self, subject: str, relation: str | None = None) -> int: ...
    def search(self, query: str, k: int = 5) -> list[Hit]: ...
    def sample(self, number: int, seed: int = 0) -> list[Fact]: ...
    def note(self, name: str) -> Any: ...
    def set_note(self, name: str, value: Any) -> None: ...
    def __len__(self) -> int: ...


def statement(fact: Fact) -> str:
    """The fact as a text for a model: its first context, or one made from its parts."""
    if fact.contexts:
        return fact.contexts[0]
    about = f"{fact.subject}, {fact.relation}" if fact.relation else fact.subject
    return f"{about}: {fact.answer}"


def check_query(query: str, k: int) -> None:
    """Refuse a search for nothing, or for no fact.

    Raises:
        DataError: the query is empty, or ``k`` is below 1.
    """
    if not query.strip():
        raise DataError("the query is empty; give words to search for")
    if k < 1:
        raise DataError(f"cannot search for {k} facts; ask for at least 1")
