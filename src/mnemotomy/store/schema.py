"""The file of a store: its tables, opening and explaining them, and facts as rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.data.fact import Fact
from mnemotomy.store.retriever import statement

APPLICATION, VERSION = 0x4D6E656D, 1  # "Mnem" in the file's header, and the layout below
TOKENIZER = "tokenize = 'unicode61 remove_diacritics 2'"
BUSY_SECONDS = 60.0
DAMAGED = "is damaged; make the store anew from an exported file"

# ids are never used twice, so that whatever refers to a fact by its id cannot come to mean another one
_TABLES = (
    """CREATE TABLE facts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        relation TEXT NOT NULL,
        subject TEXT NOT NULL,
        answer TEXT NOT NULL,
        texts TEXT NOT NULL,
        UNIQUE (name, relation)
    )""",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    f"CREATE VIRTUAL TABLE words USING fts5(subject, text, content = '', {TOKENIZER})",
)


class _Connection(sqlite3.Connection):
    """One whose messages may quote what is no text any more, in a damaged file."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError("malformed") from error


def connect(path: str | Path, *, create: bool = True) -> sqlite3.Connection:
    """Open the store at ``path``; where there is no file, or an empty one, make it.

    The journal is SQLite's rollback journal: the store stays one file, and nothing of what is deleted survives in a
    write-ahead log beside it.

    Raises:
        StoreError: the path is a folder or lies in none, holds something else than a store, or one of a newer
            version; or there is no file and ``create`` is false.
    """
    path = Path(path)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file of the store")
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent} for the store {path.name}; make it first")
    if not create and not path.exists():
        raise StoreError(f"there is no fact store {path}; make one with 'mnemotomy facts add' or 'facts import'")
    with explaining(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        try:
            # while adding too: what the index sheds as it grows are copies of texts that may be deleted later
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def is_database(path: str | Path) -> bool:
    """Whether there is a file of SQLite at ``path``, by its header."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One state of the file for several reads, whatever other processes do."""
    if connection.in_transaction:  # inside a call of ``add`` that reads the store as it goes
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE") -> Iterator[None]:
    """Write all of what happens inside, or nothing; other processes wait for their turn.

    ``"DEFERRED"`` is for what only reads: it sees one state of the store throughout, and writers wait until it ends.
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a ``StoreError`` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        message = str(error)
        for part, meaning in _MEANINGS.items():
            if part in message:
                raise StoreError(f"{path} {meaning}") from error
        raise StoreError(f"the fact store {path} failed: {message}") from error


_MEANINGS = {
    "is locked": "is in use by another process; try again when that is done",
    "not a database": "is no fact store; give another path",
    "malformed": DAMAGED,
    "decode to UTF-8": DAMAGED,
    "readonly": "cannot be written; check its permissions",
    "unable to open": "cannot be opened; check its permissions",
    "closed database": "was closed; open it again",
    "invalid fts5 file format": "was written with a newer SQLite; use a Python whose sqlite3 is 3.42 or newer",
}


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection, "DEFERRED"):  # else another process could make the store between two of the reads
        if _is_store(connection, path):
            return
    with transaction(connection):
        if _is_store(connection, path):  # another process was faster
            return
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _is_store(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a store already; False where it is empty."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if application == APPLICATION and version > VERSION:
        raise StoreError(f"{path} is a fact store of version {version}, and this is mnemotomy for {VERSION}; upgrade")
    if application != APPLICATION and (tables or application or version):
        raise StoreError(f"{path} is a database of another program, no fact store; give another path")
    return bool(application == APPLICATION and tables)


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
