"""A store's file: its tables, opening it, its errors, and facts as rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.core.json_text import read_json
from mnemotomy.data.fact import Fact
from mnemotomy.store.retriever import statement
from mnemotomy.store.seal import BLANK, is_large, is_whole, seal, unseal, value_of

APPLICATION, VERSION = 0x4D6E656D, 2  # "Mnem" in the file's header, and the layout below; 1 had no content hash
TOKENIZER = "tokenize = 'unicode61 remove_diacritics 2'"
BUSY_SECONDS = 60.0
DAMAGED = (
    "is damaged, or was changed by another program; make a new store from an exported file ('facts export --no-verify' "
    "exports it as it is)"
)

# ids are never reused, so that a reference to a fact cannot come to mean another one
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
    """A connection that also reports text that a damaged file can no longer decode."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError("malformed") from error


def connect(path: str | Path, *, create: bool = True, verify: bool = True) -> sqlite3.Connection:
    """Open the store at ``path``; create it if the file is missing or empty.

    ``verify`` checks it against the hash of its content, which takes 4 ms for 100,000 facts; without it, the store can
    only be read. A store of more than 1 GiB has no hash.

    SQLite's rollback journal keeps the store in one file, so that deleted text does not survive in a write-ahead log.

    Raises:
        StoreError: the path is a folder or has no parent folder, the file is not a store, is damaged or of a newer
            version, or it is missing and ``create`` is false.
    """
    path = Path(path)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file of the store")
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} of the store {path.name} does not exist; make it first")
    if not create and not path.exists():
        raise StoreError(f"the fact store {path} does not exist; make one with 'mnemotomy facts add' or 'facts import'")
    with explaining(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        try:
            # needed while adding too: the growing index drops copies of texts that may be deleted later
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
            connection.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere may bring SQL of its own
            _prepare(connection, path, verify)
            if not verify:
                connection.execute("PRAGMA query_only = ON")  # a write would seal the damage
        except BaseException:
            connection.close()
            raise
    return connection


def is_database(path: str | Path) -> bool:
    """Whether the file at ``path`` has SQLite's header."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One state of the file for several reads, whatever other processes write."""
    # already in a transaction: ``add`` was given facts that are read from this store
    with contextlib.nullcontext() if connection.in_transaction else transaction(connection, "DEFERRED"):
        yield


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE") -> Iterator[None]:
    """Write everything inside, or nothing; other processes wait.

    ``"DEFERRED"`` is for reading: it sees one state of the store, and writers wait until it ends.
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        if kind == "IMMEDIATE":
            connection.execute(f"PRAGMA user_version = {VERSION}")
            unseal(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if kind == "IMMEDIATE":
        seal(connection)


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
    "is locked": "is in use by another process; try again later",
    "not a database": "is not a fact store; give another path",
    "malformed": DAMAGED,
    "decode to UTF-8": DAMAGED,
    "readonly": "cannot be written; check its permissions",
    "unable to open": "cannot be opened; check its permissions",
    "closed database": "was closed; open it again",
    "invalid fts5 file format": "was written with a newer SQLite; use a Python whose sqlite3 is 3.42 or newer",
}


def _prepare(connection: sqlite3.Connection, path: Path, verify: bool) -> None:
    with transaction(connection, "DEFERRED"):  # so that no process can make the store between the reads
        if _is_store(connection, path):
            if verify:
                _check_content(connection, path)
            return
    with transaction(connection):
        if _is_store(connection, path):  # another process was faster
            return
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    value = value_of(connection)
    if value == BLANK:
        why = "the process that changed it last was stopped before it wrote"
    elif value is None and connection.execute("PRAGMA user_version").fetchone()[0] < VERSION:
        why = "an older version wrote it without"
    elif is_large(connection) or (value is not None and is_whole(connection, value)):
        return
    else:
        raise StoreError(f"{path} {DAMAGED}")
    warnings.warn(
        f"{path} cannot be checked, as {why} a hash of its content; damage would go unnoticed until the next change, "
        "which adds one",
        stacklevel=5,
    )


def _is_store(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a store already; False if it is empty."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if application == APPLICATION and version > VERSION:
        raise StoreError(f"{path} is a fact store of version {version}, newer than this mnemotomy's {VERSION}; upgrade")
    if application != APPLICATION and (tables or application or version):
        raise StoreError(f"{path} is another program's database, not a fact store; give another path")
    if application == APPLICATION and tables:
        _check_schema(connection, path)
        return True
    return False


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with triggers, views or tables that no store has: they would run or hide what is written."""
    own = {_name(table): table for table in _TABLES}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
        ours = name in own and sql == own[name]
        side = kind in ("table", "index") and (name.startswith(("sqlite_", "words_")) or (kind == "table" and ours))
        if not side:
            raise StoreError(
                f"{path} contains the {kind} {name!r}, which no fact store has; make a new store from trusted facts"
            )


def _name(table: str) -> str:
    return next(word for word in table.split() if word in ("facts", "notes", "words"))


COLUMNS = "subject, answer, relation, texts"
_LISTS = ("prompts", "contexts", "heldout_prompts")

Row = tuple[str, str, str, str]


class Indexed(NamedTuple):
    """The searchable texts of a fact."""

    subject: str
    text: str


def storable(text: str) -> str:
    """The text, with a replacement for what UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def to_row(fact: Fact, where: str) -> Row:
    """The values of ``COLUMNS``.

    Raises:
        DataError: a text contains half a surrogate pair, which UTF-8 cannot encode.
    """
    texts = {name: getattr(fact, name) for name in _LISTS if getattr(fact, name)}
    row = (fact.subject, fact.answer, fact.relation, json.dumps(texts, ensure_ascii=False))
    try:
        "".join(row).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: a text contains half a surrogate pair, which UTF-8 cannot encode; fix it") from error
    return row


def from_row(row: Row) -> Fact:
    """The fact that ``to_row`` stored.

    Raises:
        StoreError: the row is damaged.
    """
    subject, answer, relation, texts = row
    try:
        if not all(type(one) is str for one in row):  # a column may hold bytes or numbers all the same
            raise TypeError(row)
        lists: dict[str, Any] = {name: tuple(values) for name, values in read_json(texts).items()}
        if not set(lists) <= set(_LISTS) or not all(type(one) is str for values in lists.values() for one in values):
            raise ValueError(texts)
        return Fact(subject, answer, relation=relation, **lists)
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"a row of the store {DAMAGED}") from error


def indexed(fact: Fact) -> Indexed:
    """The fact's texts for the index; without prompts, which ask and state nothing."""
    return Indexed(fact.subject, " ".join((fact.relation, *(fact.contexts or (statement(fact),)))))
