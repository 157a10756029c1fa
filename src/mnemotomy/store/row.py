"""A fact as a row of the store, and back."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.data.fact import Fact
from mnemotomy.store.retriever import statement
from mnemotomy.store.schema import DAMAGED

COLUMNS = "subject, answer, relation, texts"
_LISTS = ("prompts", "contexts", "heldout_prompts")

Row = tuple[str, str, str, str]


class Indexed(NamedTuple):
    """The texts of a fact that can be searched for."""

    subject: str
    text: str


def storable(text: str) -> str:
    """The text as one that UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def to_row(fact: Fact, where: str) -> Row:
    """The values of ``COLUMNS``.

    Raises:
        DataError: a text has half a character, which no file can hold.
    """
    texts = {name: getattr(fact, name) for name in _LISTS if getattr(fact, name)}
    row = (fact.subject, fact.answer, fact.relation, json.dumps(texts, ensure_ascii=False))
    try:
        "".join(row).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: a text holds half a character (a lone surrogate); write it as UTF-8") from error
    return row


def from_row(row: Row) -> Fact:
    """The fact that ``to_row`` stored.

    Raises:
        StoreError: it is not as it was stored.
    """
    subject, answer, relation, texts = row
    try:
        lists: dict[str, Any] = {name: tuple(values) for name, values in json.loads(texts).items()}
        return Fact(str(subject), str(answer), relation=str(relation), **lists)
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"a row of the store {DAMAGED}") from error


def indexed(fact: Fact) -> Indexed:
    """What the index holds of the fact. Its prompts are not in: they are questions, and state nothing."""
    return Indexed(fact.subject, " ".join((fact.relation, *(fact.contexts or (statement(fact),)))))
