"""The full-text index of a store: FTS5, ranked by BM25.

A word that most facts hold costs time and tells nothing: BM25 visits every fact that holds a word of the query, and
"in which country is" may be in a million of them. So the words of a query are taken from the rarest on, as long as
the facts that hold them number at most ``MOST_FACTS`` together; the rest of the query is dropped. In a store of up
to ``MOST_FACTS`` facts the rule costs next to nothing and is the exact BM25 for every query but very long ones.
"""

from __future__ import annotations

import math
import sqlite3

from mnemotomy.ram.row import Indexed

MOST_FACTS = 2000
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
        """How many facts hold the word; counting stops at ``MOST_FACTS + 1``."""
        self._refresh()
        if word not in self._counts:
            query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            self._counts[word] = self._connection.execute(query, (_quoted(word), MOST_FACTS + 1)).fetchone()[0]
        return self._counts[word]

    def weight(self, word: str) -> float:
        """Inverse document frequency, at least 0; 0 for a word that more than ``MOST_FACTS`` facts hold."""
        count = self.count(word)
        return 0.0 if count > MOST_FACTS else math.log(1 + (self.size - count + 0.5) / (count + 0.5))

    def search(self, words: list[str], k: int) -> list[tuple[int, float]]:
        """The ids of the ``k`` best facts and their scores, −BM25, best first; among equals the oldest."""
        chosen = self._chosen(words)
        if not chosen:
            return []
        match = " OR ".join(map(_quoted, chosen))
        # the inner limit binds where only common words are left: then the oldest facts that hold one are ranked
        query = (
            "SELECT rowid, score FROM (SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ? LIMIT ?) "
            "ORDER BY score DESC, rowid LIMIT ?"
        )
        return self._connection.execute(query, (match, MOST_FACTS, k)).fetchall()

    def _chosen(self, words: list[str]) -> list[str]:
        known = sorted((word for word in words if self.count(word)), key=self.count)
        chosen: list[str] = []
        matches = 0
        for word in known[:_MOST_WORDS]:
            matches += self.count(word)
            if matches > MOST_FACTS and self.size > MOST_FACTS:
                break
            chosen.append(word)
        return chosen or sorted(known, key=len)[-1:]  # nothing but common words: the longest stands for all

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
