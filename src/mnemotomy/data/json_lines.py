"""JSON Lines in UTF-8: one value per line, each with its place for error messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_input
from mnemotomy.core.integrity import check_listed
from mnemotomy.core.json_text import read_json
from mnemotomy.core.progress import progress_bar

_STEP = 1000  # lines between two moves of the bar


def json_lines(path: str | Path, what: str = "file", *, bar: str | None = None) -> Iterator[tuple[Any, str]]:
    """The value and the place of every line that is not blank, read lazily.

    Args:
        what: the kind of file, for error messages, such as ``concept file``.
        bar: the name of a progress bar, for large files.

    Raises:
        DataError: the file is missing or unreadable, or a line is not valid JSON; the message names file and line.
        ArtifactError: it lies in one of our folders, and has changed since it was written.
    """
    check_input(path)
    check_listed(Path(path))
    try:
        with (
            Path(path).open("rb") as file,
            progress_bar(f"{bar} (MB)", Path(path).stat().st_size // 10**6, enabled=bar is not None) as advance,
        ):
            megabytes = 0
            # as bytes: text lines would also end at characters that a JSON string may contain
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if bar is not None and number % _STEP == 0:
                    advance(file.tell() // 10**6 - megabytes)
                    megabytes = file.tell() // 10**6
                if text.strip():
                    where = f"{path} line {number}"
                    yield parse_line(text, where), where
    except FileNotFoundError:
        raise DataError(f"the {what} {path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def parse_line(line: bytes | str, where: str) -> Any:
    """The value of one line.

    Raises:
        DataError: it is not valid JSON, or cannot be written as UTF-8; the message begins with ``where``.
    """
    try:
        value = read_json(line if isinstance(line, str) else line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # JSON can escape half a surrogate pair
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {error.object[error.start]!r} is half a surrogate pair, not valid text") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
    except ValueError as error:  # numbers too long, nesting too deep, a key twice
        raise DataError(f"{where}: not JSON that Python can read ({error})") from error
    return value
