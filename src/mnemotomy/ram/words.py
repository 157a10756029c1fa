"""Text as the words that the index knows, split by SQLite itself."""

from __future__ import annotations

import sqlite3

from mnemotomy.ram.row import storable
from mnemotomy.ram.schema import TOKENIZER


class Splitter:
    """Splits text exactly as the full-text index does: one tokenizer, no second opinion."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, content = '', {TOKENIZER})")
        self._connection.execute("CREATE VIRTUAL TABLE positions USING fts5vocab(words, instance)")

    def split(self, text: str) -> list[str]:
        """The distinct words in the order of their first occurrence: in lower case, without accents."""
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("INSERT INTO words (rowid, text) VALUES (1, ?)", (storable(text),))
            found = self._connection.execute("SELECT term FROM positions ORDER BY offset").fetchall()
        finally:
            self._connection.execute("ROLLBACK")
        return list(dict.fromkeys(term for (term,) in found))

    def close(self) -> None:
        self._connection.close()
