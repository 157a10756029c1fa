"""Text as the words that the index knows, split by SQLite itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mnemotomy.store.row import storable
from mnemotomy.store.schema import TOKENIZER


class Splitter:
    """Splits text exactly as the full-text index does: one tokenizer, no second opinion."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, content = '', {TOKENIZER})")
        self._connection.execute("CREATE VIRTUAL TABLE positions USING fts5vocab(words, instance)")

    def split(self, text: str) -> list[str]:
        """The distinct words in the order of their first occurrence: in lower case, without accents."""
        return self.split_all((text,))[0]

    def split_all(self, texts: Sequence[str]) -> list[list[str]]:
        """The same for several texts at once."""
        found: list[dict[str, None]] = [{} for _ in texts]
        self._connection.execute("BEGIN")
        try:
            rows = ((number, storable(text)) for number, text in enumerate(texts))
            self._connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)
            for number, word in self._connection.execute("SELECT doc, term FROM positions ORDER BY doc, offset"):
                found[number][word] = None
        finally:
            self._connection.execute("ROLLBACK")
        return [list(words) for words in found]

    def close(self) -> None:
        self._connection.close()
