"""The full-text index of a store: FTS5, ranked by BM25.

A word that most facts contain costs time and says nothing: BM25 visits every fact with a word of the query, and
"in which country is" may be in a million of them. So a query's words have three roles:

- the rarest words, as long as at most ``VISITED`` facts contain one of them, choose the facts to rank; if each is in
  more facts than that, facts must contain several of them together;
- other words in at most ``COUNTED`` facts count in the ranking;
- words in more facts than that are ignored.

In a store of up to ``VISITED`` facts every word has the first role, which is plain BM25.
"""

from __future__ import annotations

import itertools
import math
import sqlite3

from mnemotomy.store.schema import Indexed

VISITED, COUNTED = 2000, 50_000
_MOST_WORDS = 64
# older versions keep deleted text in the index until its segments are merged
_DELETES_SECURELY = sqlite3.sqlite_version_info >= (3, 42)


class WordIndex:
    """Maps words to the ids of facts. The caller opens the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._state: tuple[int, int] | None = None
        self._size = 0
        self._counts: dict[str, int] = {}

    def add(self, number: int, texts: Indexed) -> None:
        self._connection.execute("INSERT INTO words (rowid, subject, text) VALUES (?, ?, ?)", (number, *texts))

    def remove(self, number: int, texts: Indexed) -> None:
        """Undo ``add``; call ``purge`` afterwards."""
        if _DELETES_SECURELY:
            self._connection.execute("INSERT INTO words (words, rank) VALUES ('secure-delete', 1)")
        self._connection.execute(
            "INSERT INTO words (words, rowid, subject, text) VALUES ('delete', ?, ?, ?)", (number, *texts)
        )

    def purge(self) -> None:
        """Erase all traces of removed facts from the file."""
        if not _DELETES_SECURELY:
            self.merge()

    def merge(self) -> None:
        """Merge all segments into one: searches get faster, and removed text is erased."""
        self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")

    @property
    def size(self) -> int:
        """The number of facts."""
        self._refresh()
        return self._size

    def count(self, word: str) -> int:
        """How many facts contain the word, at most ``COUNTED + 1``."""
        self._refresh()
        if word not in self._counts:
            query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            self._counts[word] = self._connection.execute(query, (_quoted(word), COUNTED + 1)).fetchone()[0]
        return self._counts[word]

    def weight(self, word: str) -> float:
        """Inverse document frequency, at least 0; 0 for a word in more than ``COUNTED`` facts."""
        count = self.count(word)
        return 0.0 if count > COUNTED else math.log(1 + (self.size - count + 0.5) / (count + 0.5))

    def search(self, words: list[str], k: int) -> list[tuple[int, float]]:
        """The ids of the ``k`` best facts and their scores, −BM25, best first, then oldest first.

        If more than ``VISITED`` facts contain the rarest word, facts with the most of the rarest words come first; if
        there are too many, only the oldest are ranked. If more than ``COUNTED`` facts contain it, all are returned by
        age, with a score of 0.
        """
        known = sorted((word for word in words if self.count(word)), key=self.count)[:_MOST_WORDS]
        if not known:
            return []
        if self.count(known[0]) <= VISITED:
            choosing = self._choosing(known)
            return self._ranked(_any(choosing), choosing, known, k)
        counted = [word for word in known if self.count(word) <= COUNTED]
        found: dict[int, float] = {}
        for choosing in (self._together(counted or known), counted[:1] or [max(known, key=len)]):
            if len(found) < k:
                for number, score in self._ranked(_all(choosing), choosing, counted, k):
                    found.setdefault(number, score)
        return list(found.items())[:k]

    def _ranked(self, match: str, choosing: list[str], known: list[str], k: int) -> list[tuple[int, float]]:
        """The best of the matching facts, ranked by the choosing words and by other known ones."""
        if not known:  # every word is in too many facts to rank by
            query = "SELECT rowid, 0.0 FROM words WHERE words MATCH ? LIMIT ?"
            return self._connection.execute(query, (match, k)).fetchall()
        times = 1
        ranking = [word for word in known if word not in choosing and self.count(word) <= COUNTED]
        if ranking:  # name each word twice, so that all weigh the same
            match, times = f"({match}) AND ({_any([*choosing, *ranking, *ranking])})", 2
        # the inner limit bounds the work if even the rarest word is common
        query = (
            "SELECT rowid, score FROM (SELECT rowid, -bm25(words) / ? AS score FROM words WHERE words MATCH ? LIMIT ?) "
            "ORDER BY score DESC, rowid LIMIT ?"
        )
        return self._connection.execute(query, (times, match, VISITED, k)).fetchall()

    def _together(self, known: list[str]) -> list[str]:
        """The most of the rarest words that one fact contains, at least one."""
        query = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
        for number in range(len(known), 1, -1):
            if self._connection.execute(query, (_all(known[:number]),)).fetchone():
                return known[:number]
        return known[:1]

    def _choosing(self, known: list[str]) -> list[str]:
        """The rarest words that are in at most ``VISITED`` facts in total, at least one."""
        if self.size <= VISITED:
            return known
        held = itertools.accumulate(map(self.count, known))
        return known[: max(1, sum(1 for facts in held if facts <= VISITED))]

    def _refresh(self) -> None:
        """Drop the counts if this connection or another one has written."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        state = (version, self._connection.total_changes)
        if state != self._state:
            self._counts.clear()
            self._size = self._connection.execute("SELECT count(*) FROM facts").fetchone()[0]
            self._state = state


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _any(words: list[str]) -> str:
    return " OR ".join(map(_quoted, words))


def _all(words: list[str]) -> str:
    return " AND ".join(map(_quoted, words))
