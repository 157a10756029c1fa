"""The full-text index of a store: FTS5, ranked by BM25.

A word that most facts hold costs time and tells nothing: BM25 visits every fact that holds a word of the query, and
"in which country is" may be in a million of them. So a query's words play three parts:

- the rarest, as long as at most ``VISITED`` facts hold one of them, choose the facts that are ranked; where more hold
  each of them, as many of them together do;
- the others count in ranking those, if at most ``COUNTED`` facts hold them;
- what is in more facts than that is dropped.

In a store of up to ``VISITED`` facts every word is of the first kind: that is BM25 as it stands in the books.
"""

from __future__ import annotations

import itertools
import math
import sqlite3

from mnemotomy.store.schema import Indexed

VISITED, COUNTED = 2000, 50_000
_MOST_WORDS = 64
# older ones keep what is deleted inside the index until its segments are merged
_DELETES_SECURELY = sqlite3.sqlite_version_info >= (3, 42)


class WordIndex:
    """Words to facts, by the facts' ids. The caller opens the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._state: tuple[int, int] | None = None
        self._size = 0
        self._counts: dict[str, int] = {}

    def add(self, number: int, texts: Indexed) -> None:
        self._connection.execute("INSERT INTO words (rowid, subject, text) VALUES (?, ?, ?)", (number, *texts))

    def remove(self, number: int, texts: Indexed) -> None:
        """Take out what ``add`` put in; ``purge`` afterwards."""
        if _DELETES_SECURELY:
            self._connection.execute("INSERT INTO words (words, rank) VALUES ('secure-delete', 1)")
        self._connection.execute(
            "INSERT INTO words (words, rowid, subject, text) VALUES ('delete', ?, ?, ?)", (number, *texts)
        )

    def purge(self) -> None:
        """Leave nothing in the file of what was removed."""
        if not _DELETES_SECURELY:
            self.merge()

    def merge(self) -> None:
        """Merge all segments into one: searches are faster, and what was removed is gone."""
        self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")

    @property
    def size(self) -> int:
        """The number of facts."""
        self._refresh()
        return self._size

    def count(self, word: str) -> int:
        """How many facts hold the word; counting stops at ``COUNTED + 1``."""
        self._refresh()
        if word not in self._counts:
            query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            self._counts[word] = self._connection.execute(query, (_quoted(word), COUNTED + 1)).fetchone()[0]
        return self._counts[word]

    def weight(self, word: str) -> float:
        """Inverse document frequency, at least 0; 0 for a word that more than ``COUNTED`` facts hold."""
        count = self.count(word)
        return 0.0 if count > COUNTED else math.log(1 + (self.size - count + 0.5) / (count + 0.5))

    def search(self, words: list[str], k: int) -> list[tuple[int, float]]:
        """The ids of the ``k`` best facts and their scores, −BM25, best first; among equals the oldest.

        Where more than ``VISITED`` facts hold the rarest word, those go first that hold as many of the rarest words
        together as any fact does; of too many, the oldest are ranked. Where more than ``COUNTED`` do, all are returned
        by age, at a score of 0.
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
        """The best of the facts that match, by the words that choose them and by the others that are known."""
        if not known:  # every word is in too many facts to count in ranking
            query = "SELECT rowid, 0.0 FROM words WHERE words MATCH ? LIMIT ?"
            return self._connection.execute(query, (match, k)).fetchall()
        times = 1
        ranking = [word for word in known if word not in choosing and self.count(word) <= COUNTED]
        if ranking:  # each word stands in it twice, so that all of them weigh the same
            match, times = f"({match}) AND ({_any([*choosing, *ranking, *ranking])})", 2
        # bounds the work where the rarest word is common already
        query = (
            "SELECT rowid, score FROM (SELECT rowid, -bm25(words) / ? AS score FROM words WHERE words MATCH ? LIMIT ?) "
            "ORDER BY score DESC, rowid LIMIT ?"
        )
        return self._connection.execute(query, (times, match, VISITED, k)).fetchall()

    def _together(self, known: list[str]) -> list[str]:
        """As many of the rarest words as one fact holds together, one at least."""
        query = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
        for number in range(len(known), 1, -1):
            if self._connection.execute(query, (_all(known[:number]),)).fetchone():
                return known[:number]
        return known[:1]

    def _choosing(self, known: list[str]) -> list[str]:
        """The rarest words that ``VISITED`` facts may hold together, one at least."""
        if self.size <= VISITED:
            return known
        held = itertools.accumulate(map(self.count, known))
        return known[: max(1, sum(1 for facts in held if facts <= VISITED))]

    def _refresh(self) -> None:
        """Forget the counts when this connection or another one has written."""
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
