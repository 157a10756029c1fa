"""What finds facts for a question, whatever it searches with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from mnemotomy.data.fact import Fact


@dataclass(frozen=True)
class Hit:
    """A fact that a search found.

    Attributes:
        fact: as it is stored.
        score: by which hits are ranked, larger is better; comparable within one search only.
        relevance: how surely the fact is about what was asked, comparable between searches; at most 1.
    """

    fact: Fact
    score: float
    relevance: float


class Retriever(Protocol):
    """A store of facts that can be searched; ``FactStore`` says what each method does."""

    def add(self, facts: Iterable[Fact]) -> int: ...
    def update(self, fact: Fact) -> None: ...
    def delete(self, subject: str, relation: str | None = None) -> int: ...
    def search(self, query: str, k: int = 5) -> list[Hit]: ...
    def sample(self, number: int, seed: int = 0) -> list[Fact]: ...
    def note(self, name: str) -> Any: ...
    def set_note(self, name: str, value: Any) -> None: ...
    def __len__(self) -> int: ...


def statement(fact: Fact) -> str:
    """What the fact says, as a text that a model can read: its first context, or one made of its parts."""
    if fact.contexts:
        return fact.contexts[0]
    about = f"{fact.subject}, {fact.relation}" if fact.relation else fact.subject
    return f"{about}: {fact.answer}"
