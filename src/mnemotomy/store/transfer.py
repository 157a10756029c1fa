"""A store's facts to and from files, one fact at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import filling
from mnemotomy.core.progress import progress_bar
from mnemotomy.data.fact import Fact
from mnemotomy.data.fact_file import format_fact, parse_fact
from mnemotomy.store.schema import is_database

if TYPE_CHECKING:
    from mnemotomy.store.fact_store import FactStore

_STEP = 1000  # facts between two moves of the bar


def import_file(store: FactStore, path: str | Path) -> int:
    """Add the facts of a JSON Lines file, all or none; returns how many are new.

    Raises:
        DataError: the file is missing, empty or malformed, or contradicts itself or the store.
    """
    return store.add(_facts(Path(path)))


def export_file(store: FactStore, path: str | Path) -> int:
    """Write all facts of one moment as JSON Lines, all or nothing; returns how many there are.

    Raises:
        DataError: the file is a store, this or another one.
    """
    if is_database(path):
        raise DataError(f"{path} is a fact store, which the export would replace; name another file")
    written = 0
    with (
        filling(path) as temporary,
        store.frozen(),
        temporary.open("w", encoding="utf-8") as file,
        progress_bar("exporting", len(store)) as advance,
    ):
        for fact in store:
            file.write(format_fact(fact) + "\n")
            written += 1
            if not written % _STEP:
                advance(_STEP)
    return written


def _facts(path: Path) -> Iterator[Fact]:
    found = False
    try:
        with path.open("rb") as file, progress_bar("importing (MB)", path.stat().st_size // 10**6) as advance:
            megabytes = 0
            for number, line in enumerate(file, start=1):
                if not number % _STEP:
                    advance(file.tell() // 10**6 - megabytes)
                    megabytes = file.tell() // 10**6
                where = f"{path} line {number}"
                if text := _text(line, where, first=number == 1).strip():
                    found = True
                    yield parse_fact(text, where)
    except FileNotFoundError:
        raise DataError(f"there is no file of facts {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not found:
        raise DataError(f'{path} is empty; write one fact a line, as in {{"subject": "Kyoto", "answer": "Japan"}}')


def _text(line: bytes, where: str, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 ({error.reason} at byte {error.start + 1})") from error
