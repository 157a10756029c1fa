"""Keys: names for results and files, made from everything that they depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from mnemotomy.core.files import check_input

LENGTH = 24
"""Hexadecimal digits: 96 bits, so that two different things never share a key."""


def key(*parts: Any) -> str:
    """The key of ``parts``, whose order counts, unlike the order within a dict.

    Parts are JSON values, dataclasses and paths; give tensors and models as digests (``mnemotomy.core.fingerprints``).

    Raises:
        TypeError: a part is something else, whose text could differ from run to run.
    """
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def file_digest(path: str | Path) -> str:
    """SHA-256 over the bytes of a file.

    Raises:
        DataError: it is a named pipe.
    """
    check_input(path)
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: str | Path) -> str:
    """SHA-256 of a file; of a folder, over the names and hashes of all files in it."""
    path = Path(path)
    if not path.is_dir():
        return file_digest(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    listed = [[one.relative_to(path).as_posix(), file_digest(one)] for one in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _plain(part: Any) -> Any:
    if is_dataclass(part) and not isinstance(part, type):
        return {type(part).__name__: asdict(part)}
    if isinstance(part, Path):
        return str(part)
    raise TypeError(f"a key is made of JSON values, dataclasses and paths, not of {type(part).__name__}")
