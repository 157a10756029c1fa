"""The content hash of a store: a note in its own file, written with every change and checked on opening."""

from __future__ import annotations

import sqlite3

import xxhash

NOTE = "content hash"
"""The name of the note."""

MOST = 1 << 30
"""Bytes; a larger store has no hash, as hashing copies it into memory."""

_BLANK = "0" * 32
_COUNTERS = ((24, 28), (92, 100))  # SQLite changes them on committing, after the hash is made


def seal(connection: sqlite3.Connection) -> None:
    """Write the hash of the store as it is in the open transaction, which must be committed next."""
    if is_large(connection):
        connection.execute("DELETE FROM notes WHERE name = ?", (NOTE,))
        return
    _write(connection, _BLANK)
    connection.execute("SAVEPOINT written")  # FTS5 keeps new words in memory until then
    connection.execute("RELEASE written")
    _write(connection, _hash(connection, _BLANK))


def is_whole(connection: sqlite3.Connection) -> bool | None:
    """Whether the store is what was written; None if it has no hash."""
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (NOTE,)).fetchone()
    if row is None:
        return None
    return len(str(row[0])) == len(_BLANK) and _hash(connection, str(row[0])) == row[0]


def is_large(connection: sqlite3.Connection) -> bool:
    """Whether the store is too large to have a hash."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return bool(pages * size > MOST)


def _write(connection: sqlite3.Connection, value: str) -> None:
    connection.execute("REPLACE INTO notes (name, value) VALUES (?, ?)", (NOTE, value))


def _hash(connection: sqlite3.Connection, value: str) -> str:
    """The hash of all pages with the hash itself, ``value``, and the counters blanked; empty if ``value`` is not there.

    The pages are SQLite's: closing a file that this process opened itself would end the locks of the connection.
    """
    content = connection.serialize()
    sought = (NOTE + value).encode()
    place = content.find(sought)
    if place < 0 or content.find(sought, place + 1) >= 0:
        return ""
    stop = place + len(sought)
    found, start = xxhash.xxh3_128(), 0
    with memoryview(content) as view:
        for first, last in sorted([*_COUNTERS, (stop - len(value), stop)]):
            found.update(view[start:first])
            start = last
        found.update(view[start:])
    return str(found.hexdigest())
