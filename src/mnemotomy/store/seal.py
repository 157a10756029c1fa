"""The content hash of a store: a note in its own file, written after every change and checked on opening."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import xxhash

NOTE = "content hash"
"""The name of the note."""

MOST = 1 << 30
"""Bytes; a larger store has no hash, as every change reads the whole file to make it."""

BLANK = "0" * 32
"""The note's value from a change until its hash is written; it stays if the writer is killed between the two."""

_COUNTERS = ((24, 28), (92, 100))  # SQLite changes them on committing, after the hash is made
_PIECE = 1 << 18  # bytes; fits into the cache, where hashing costs little
_OPEN_FILES = Path("/dev/fd")

Read = Callable[[int, int], bytes]
"""The bytes of the file from a place on, at most so many."""


def unseal(connection: sqlite3.Connection) -> None:
    """In the transaction of a change: note that the hash is out of date."""
    if is_large(connection):
        connection.execute("DELETE FROM notes WHERE name = ?", (NOTE,))
    else:
        _write(connection, BLANK)


def seal(connection: sqlite3.Connection) -> None:
    """After the change: write the hash, in a transaction of its own, as the file has to have the content by then.

    If another process is writing, it will write the hash. If the disk is full, the change is stored all the same; the
    hash is missing then, and opening the store says so.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        if not is_large(connection):
            _write(connection, _hash(connection, value_of(connection) or ""))
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def value_of(connection: sqlite3.Connection) -> str | None:
    """The note's value, if the store has the note."""
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (NOTE,)).fetchone()
    return None if row is None else str(row[0])


def is_whole(connection: sqlite3.Connection, value: str) -> bool:
    """Whether the store's content has the hash ``value``, its note; in a transaction."""
    return len(value) == len(BLANK) and _hash(connection, value) == value


def is_large(connection: sqlite3.Connection) -> bool:
    """Whether the store is too large to have a hash."""
    return _size(connection) > MOST


def _write(connection: sqlite3.Connection, value: str) -> None:
    connection.execute("REPLACE INTO notes (name, value) VALUES (?, ?)", (NOTE, value))


def _hash(connection: sqlite3.Connection, value: str) -> str:
    """The hash of the whole file but for the counters and the hash itself, ``value``; empty if that is not found.

    The file is read through a descriptor that SQLite has open: if this process opened it once more, closing that would
    end the locks of all its connections (POSIX). Where that cannot be done, SQLite makes a copy in memory, which takes
    ten times as long.
    """
    if (descriptor := _descriptor(connection)) is not None:
        try:
            found = _hash_of(connection, lambda start, length: os.pread(descriptor, length, start), value)
            if descriptor == _descriptor(connection):  # no other thread has closed it
                return found
        except OSError:
            pass
    content = memoryview(connection.serialize())
    return _hash_of(connection, lambda start, length: bytes(content[start : start + length]), value)


def _hash_of(connection: sqlite3.Connection, read: Read, value: str) -> str:
    size, place = _size(connection), _place(connection, read, value)
    if place is None:
        return ""
    found = xxhash.xxh3_128()
    left_out = sorted([(0, 0), *_COUNTERS, (place, place + len(value)), (size, size)])
    for (_, start), (stop, _) in pairwise(left_out):
        for first in range(start, stop, _PIECE):
            found.update(read(first, min(_PIECE, stop - first)))
    return str(found.hexdigest())


def _place(connection: sqlite3.Connection, read: Read, value: str) -> int | None:
    """Where the note's value is in the file."""
    sought = (NOTE + value).encode()
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'notes'").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    for start, length in ((page * (root - 1), page), (0, _size(connection))):  # the root of a small table has all rows
        content = read(start, length)
        if content.count(sought) == 1:
            return start + content.find(sought) + len(NOTE)
    return None


def _descriptor(connection: sqlite3.Connection) -> int | None:
    """A descriptor of this process, open on the connection's file."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        store, opened = os.stat(path), sorted(int(name) for name in os.listdir(_OPEN_FILES) if name.isdigit())
    except OSError:
        return None
    for descriptor in opened:
        with contextlib.suppress(OSError):  # the one that listed the folder is closed
            if os.path.samestat(store, os.fstat(descriptor)):
                return descriptor
    return None


def _size(connection: sqlite3.Connection) -> int:
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)
