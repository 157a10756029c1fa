"""The fact store: one SQLite file with full-text search, safe for several processes and threads."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.core.json_text import read_json
from mnemotomy.core.progress import shown
from mnemotomy.data.fact import Fact, check_facts, name_of
from mnemotomy.data.fact_file import iterate_facts, write_facts
from mnemotomy.store.index import WordIndex
from mnemotomy.store.matching import Splitter, as_written, relevance
from mnemotomy.store.retriever import Hit, check_query
from mnemotomy.store.schema import (
    COLUMNS,
    DAMAGED,
    connect,
    explaining,
    from_row,
    indexed,
    is_database,
    snapshot,
    storable,
    to_row,
    transaction,
)

_PAGE = 1000  # facts read at once, so that a slow reader does not hold a lock
_WORTH_MERGING = 10_000
_ALIKE = 10  # more candidates than asked for, as a lower one may be spelled more like the query
_MOST = 10**9  # of ``k``; SQLite counts in 64 bits


class FactStore:
    """Facts on disk, found by their words.

    A fact is identified by its subject, ignoring case, and its relation. Each call is one transaction: everything is
    stored, or nothing.

    Args:
        path: of the file.
        create: whether to make the file if there is none.
        verify: check the content against its hash; without it, a damaged store can be read, but none be written.

    Raises:
        StoreError: from any method, if the file cannot be used; see ``schema.connect``.
    """

    def __init__(self, path: str | Path, *, create: bool = True, verify: bool = True) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection = connect(path, create=create, verify=verify)
        self._index = WordIndex(self._connection)
        self._splitter = Splitter()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(self, facts: Iterable[Fact]) -> int:
        """Add facts; one that is stored already with the same answer is left as it is. Returns how many are new.

        Raises:
            DataError: a fact is malformed, or a different answer is stored or was given before; the message names the
                line, or the number of a fact that is not from a file.
        """
        added = 0
        with self._writing():
            for number, fact in enumerate(facts, start=1):
                added += self._add(fact, fact.where or f"fact {number}")
            if added >= _WORTH_MERGING:
                self._index.merge()
        return added

    def update(self, fact: Fact) -> Fact:
        """Replace the stored fact of this subject and relation, and return it as it was.

        If it has no prompts, the stored ones are kept; if it has no contexts, the stored ones are kept and give the
        new answer.

        Raises:
            DataError: there is no such fact, or the new one is malformed.
        """
        with self._writing():
            stored = self._rows(fact.subject, fact.relation)
            if not stored:
                other = "give one of these, or " if self._rows(fact.subject, None) else ""
                raise DataError(f"{self._absence(fact.subject, fact.relation)}; {other}add it first")
            number, old = stored[0]
            new = replace(
                fact,
                prompts=fact.prompts or old.prompts,
                contexts=fact.contexts or old.saying(fact.answer).contexts,
                heldout_prompts=fact.heldout_prompts or old.heldout_prompts,
            )
            self._remove(number, old)
            self._add(new, fact.where or f"the fact about {fact.subject!r}")
            self._index.purge()
            return old

    def delete(self, subject: str, relation: str | None = None) -> int:
        """Delete the facts about a subject, or only one relation's, with their text; returns how many there were.

        Raises:
            DataError: there is none.
        """
        with self._writing():
            stored = self._rows(subject, relation)
            if not stored:
                raise DataError(self._absence(subject, relation))
            for number, fact in stored:
                self._remove(number, fact)
            self._index.purge()
        return len(stored)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, subject: str, relation: str | None = None) -> list[Fact]:
        """The facts about a subject, or only one relation's; empty if there is none."""
        with self._using():
            return [fact for _, fact in self._rows(subject, relation)]

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """The facts that match a query best, by BM25 over subjects and contexts; any text is a query.

        Among facts whose subjects differ only in signs or accents, such as C and C++, the one spelled as in the query
        comes first.

        Raises:
            DataError: the query is empty, or ``k`` is below 1.
        """
        check_query(query, k)
        k = min(k, _MOST)
        with self._using(), snapshot(self._connection):
            asked = self._splitter.split(query)
            found = self._index.search(asked, k + _ALIKE)
            order = as_written(query, self._names([number for number, _ in found]))
            found = [found[place] for place in order[:k]]
            known = [word for word in asked if self._index.count(word)]
            return self._hits(found, known)

    def sample(self, number: int, seed: int = 0) -> list[Fact]:
        """At most ``number`` facts, drawn at random."""
        with self._using(), snapshot(self._connection):
            if self._index.size <= number:
                return [fact for _, fact in self._page(0, number)]
            first, last = self._connection.execute("SELECT min(id), max(id) FROM facts").fetchone()
            drawn = random.Random(seed).sample(range(first, last + 1), number)
            pages = (self._page(position - 1, 1) for position in drawn)
            return list(dict(pair for page in pages for pair in page).values())

    def after(self, number: int, most: int = _PAGE) -> list[tuple[int, Fact]]:
        """The next facts after the id ``number``, with their ids, in order. A changed fact has a new id."""
        with self._using():
            return self._page(number, most)

    def by_id(self, numbers: Iterable[int]) -> dict[int, Fact]:
        """The facts with these ids, without those that are gone."""
        with self._using():
            query = f"SELECT {COLUMNS} FROM facts WHERE id = ?"
            rows = {number: self._connection.execute(query, (number,)).fetchone() for number in numbers}
        return {number: from_row(row) for number, row in rows.items() if row is not None}

    def ids_of(self, subject: str, relation: str | None = None) -> list[int]:
        """The ids of the facts that ``get`` returns."""
        with self._using():
            return [number for number, _ in self._rows(subject, relation)]

    def last_id(self) -> int:
        """The largest id used so far; 0 before the first fact."""
        with self._using():
            row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'facts'").fetchone()
        return int(row[0]) if row else 0

    def __iter__(self) -> Iterator[Fact]:
        """All facts in the order they were added or changed; may include facts that others write meanwhile."""
        last = 0
        while page := self.after(last):
            yield from (fact for _, fact in page)
            last = page[-1][0]

    def __len__(self) -> int:
        with self._using():
            return self._index.size

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """One state of the store for all reads inside; writers wait."""
        with self._using(), snapshot(self._connection):
            yield

    # -- files -----------------------------------------------------------------------------------------------------

    def import_file(self, path: str | Path) -> int:
        """Add the facts of a JSON Lines file, all or none; errors as for ``read_facts`` and ``add``."""
        return self.add(iterate_facts(path, bar="importing"))

    def export_file(self, path: str | Path) -> int:
        """Write one state of the store as ``write_facts`` does; returns how many facts.

        Raises:
            DataError: the file is a fact store.
        """
        if is_database(path):
            raise DataError(f"{path} is a fact store, which the export would overwrite; name another file")
        with self.frozen():
            return write_facts(path, shown("exporting", self, len(self)))

    # -- notes -----------------------------------------------------------------------------------------------------

    def note(self, name: str) -> Any:
        """The value saved under a name, or None."""
        with self._using():
            row = self._connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        try:
            return None if row is None else read_json(row[0])
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path} {DAMAGED}") from error

    def set_note(self, name: str, value: Any) -> None:
        """Save a JSON value in the store, such as the threshold of relevance."""
        with self._writing():
            self._connection.execute("REPLACE INTO notes (name, value) VALUES (?, ?)", (name, json.dumps(value)))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._connection.close()
            self._splitter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- one fact --------------------------------------------------------------------------------------------------

    def _add(self, fact: Fact, where: str) -> bool:
        check_facts((fact if fact.where else replace(fact, where=where),), trainable=False)
        row = to_row(fact, where)
        name = storable(name_of(fact.subject))
        stored = None if name.isascii() else next(iter(self._rows(fact.subject, fact.relation)), None)
        query = f"INSERT OR IGNORE INTO facts (name, {COLUMNS}) VALUES (?, ?, ?, ?, ?)"
        if stored is None and (cursor := self._connection.execute(query, (name, *row))).rowcount:
            self._index.add(int(cursor.lastrowid or 0), indexed(fact))
            return True
        _, old = stored or self._rows(fact.subject, fact.relation)[0]
        if old.answer != fact.answer:
            raise DataError(
                f"{where}: {fact.subject!r} has the answer {fact.answer!r}, and {old.answer!r} in the store or earlier "
                "among these facts; keep one, tell them apart by 'relation', or update the stored one"
            )
        return False

    def _remove(self, number: int, fact: Fact) -> None:
        self._index.remove(number, indexed(fact))
        self._connection.execute("DELETE FROM facts WHERE id = ?", (number,))

    def _rows(self, subject: str, relation: str | None) -> list[tuple[int, Fact]]:
        query = f"SELECT id, {COLUMNS} FROM facts WHERE name IN (?, ?) AND relation = ifnull(?, relation) ORDER BY id"
        name = storable(name_of(subject))  # older stores contain decomposed names
        values = (name, unicodedata.normalize("NFD", name), None if relation is None else storable(relation))
        return [(number, from_row(row)) for number, *row in self._connection.execute(query, values).fetchall()]

    def _page(self, after: int, most: int) -> list[tuple[int, Fact]]:
        query = f"SELECT id, {COLUMNS} FROM facts WHERE id > ? ORDER BY id LIMIT ?"
        return [(number, from_row(row)) for number, *row in self._connection.execute(query, (after, most)).fetchall()]

    def _hits(self, found: list[tuple[int, float]], asked: list[str]) -> list[Hit]:
        facts = list(self.by_id([number for number, _ in found]).values())
        split = self._splitter.split_all([text for fact in facts for text in indexed(fact)])
        relevances = (
            relevance(asked, subject, {*subject, *text}, self._index.weight)
            for subject, text in zip(split[::2], split[1::2], strict=True)
        )
        return [Hit(fact, score, r) for fact, (_, score), r in zip(facts, found, relevances, strict=True)]

    def _names(self, numbers: list[int]) -> list[str]:
        query = "SELECT name FROM facts WHERE id = ?"
        rows = [self._connection.execute(query, (number,)).fetchone() for number in numbers]
        if not all(rows):
            raise StoreError(f"{self.path} {DAMAGED}")
        return [name for (name,) in rows]

    def _absence(self, subject: str, relation: str | None) -> str:
        others = [fact.relation for _, fact in self._rows(subject, None)]
        if not others:
            return f"{self.path} has no fact about {subject!r}"
        known = ", ".join(map(repr, others))
        return f"{self.path} has no fact about {subject!r} with the relation {relation!r}, only with {known}"

    # -- locks -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock, explaining(self.path):
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._using(), transaction(self._connection):
            yield
