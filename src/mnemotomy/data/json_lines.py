"""JSON Lines in UTF-8: one object per line, with the place of each for errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError


def json_lines(path: str | Path, what: str = "file") -> Iterator[tuple[Any, str]]:
    """Every line that is not blank, as what it says and where it stands.

    Args:
        path: of the file.
        what: it is, for errors, as in ``concept file``.

    Raises:
        DataError: the file is missing or unreadable, or a line is no JSON; it names the file and the line.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no {what} {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    # not splitlines(), which also breaks at characters that may stand inside a JSON string
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            yield parse_line(line, where), where


def parse_line(line: bytes | str, where: str) -> Any:
    """What one line says.

    Raises:
        DataError: it is no JSON, or no text that can be written as UTF-8; the message begins with ``where``.
    """
    try:
        value = json.loads(line if isinstance(line, str) else line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # JSON can spell half a surrogate pair
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {error.object[error.start]!r} is half a surrogate pair, which is no text") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # numbers too long, nesting too deep
        raise DataError(f"{where}: not JSON that can be read ({error})") from error
    return value
