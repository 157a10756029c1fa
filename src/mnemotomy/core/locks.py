"""One process at a time, by a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mnemotomy.core.errors import DataError


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path`` inside; it is removed at the end.

    SQLite locks the file, on every system, without writing to it.

    Args:
        path: beside what is locked; not the locked file itself.
        what: in use, for the message.

    Raises:
        DataError: another process holds it.
    """
    try:
        database = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        with contextlib.ExitStack() as held:
            held.callback(database.close)
            database.execute("BEGIN EXCLUSIVE")
            held.pop_all()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise DataError(f"{what} is in use by another run; wait until it ends, or name another output") from error
        raise DataError(f"{path} cannot be written: {error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows does not remove an open file
            path.unlink()
        database.close()
