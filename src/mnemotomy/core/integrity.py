"""Content hashes: a file that was damaged after it was written is refused instead of being read as wrong numbers.

128-bit XXH3 detects accidental changes at the speed of memory. It is not a signature: whoever can write a file can
write its hash.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from mnemotomy.core.errors import ArtifactError

BLANK = f"xxh3-128:{'0' * 32}"
"""The placeholder for a file's own hash, before ``seal`` and while the file is hashed."""

CHECKSUMS = "checksums.json"
"""The file in a model folder with the hashes of the others."""

_SEAL = re.compile(rb"xxh3-128:([0-9a-f]{32})(?![0-9a-f])")
_SEALED_WITHIN = 1 << 16  # bytes; the seal is near the beginning of a file


def seal(path: Path) -> None:
    """Write a file's hash into the file, at the first ``BLANK``."""
    found, place = _hash(path)
    if place is None:
        raise ValueError(f"{path} has no place for its hash")
    with path.open("r+b") as file:
        file.seek(place)
        file.write(found.encode())


def is_sealed(path: str | Path) -> bool:
    """Whether a file contains its own hash; the file is checked against it.

    Raises:
        ArtifactError: the file has changed since it was written.
    """
    found, place = _hash(Path(path))
    if place is None:
        return False
    with Path(path).open("rb") as file:
        file.seek(place)
        if file.read(32) != found.encode():
            raise ArtifactError(f"{path} is damaged: it has changed since it was written; make it again")
    return True


def write_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object together with its hash."""
    path.write_text(json.dumps({"content": BLANK, "data": data}, indent=1), encoding="utf-8")
    seal(path)


def read_sealed(path: Path) -> dict[str, Any]:
    """The JSON object that ``write_sealed`` wrote.

    Raises:
        ArtifactError: the file has changed since, or ``write_sealed`` did not write it.
    """
    try:
        sealed = is_sealed(path)
        found = json.loads(path.read_text(encoding="utf-8"))["data"] if sealed else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is damaged, or was written by an older version")
    return found


def checksum(path: Path) -> str:
    """The hash of all bytes of a file."""
    if not os.path.getsize(path):
        return str(xxhash.xxh3_128().hexdigest())
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,  # read() would copy everything
        memoryview(content) as view,
    ):
        return str(xxhash.xxh3_128(view).hexdigest())


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the hashes of files in ``folder`` to its ``CHECKSUMS``."""
    write_sealed(folder / CHECKSUMS, {name: checksum(folder / name) for name in sorted(names)})


def check_folder(folder: str | Path, concerned: Callable[[str], bool] = lambda name: True) -> bool:
    """Whether ``folder`` has checksums; each file that they list and that is ``concerned`` is checked.

    Raises:
        ArtifactError: a file has changed since it was written, or is missing.
    """
    folder = Path(folder)
    if not (folder / CHECKSUMS).is_file():
        return False
    for name, expected in read_sealed(folder / CHECKSUMS).items():
        if not concerned(name):
            continue
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, but {folder / CHECKSUMS} lists it; make the folder again")
        if checksum(path) != expected:
            raise ArtifactError(
                f"{path} has changed since it was written; make the folder again, or remove its {CHECKSUMS} if "
                "you changed it yourself"
            )
    return True


def _hash(path: Path) -> tuple[str, int | None]:
    """The hash of a file with its seal blanked, and the place of the seal; None if it has no seal."""
    if not os.path.getsize(path):
        return "", None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        seal = _SEAL.search(content, 0, _SEALED_WITHIN)
        if seal is None:
            return "", None
        start, stop = seal.span(1)
        found = xxhash.xxh3_128()
        found.update(content[:start])
        found.update(b"0" * (stop - start))
        with memoryview(content) as view, view[stop:] as rest:
            found.update(rest)
        return str(found.hexdigest()), start
