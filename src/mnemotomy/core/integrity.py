"""Content hashes: a file that was damaged after it was written is refused instead of being read as wrong numbers.

128-bit XXH3 detects accidental changes at the speed of memory. It is not a signature: whoever can write a file can
write its hash.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.json_text import read_json

BLANK = f"xxh3-128:{'0' * 32}"
"""The placeholder for a file's own hash, before ``seal`` and while the file is hashed."""

CHECKSUMS = "checksums.json"
"""The file in a model folder with the hashes of the others."""

CARD = "README.md"

_DIGITS = 32
_SEAL = re.compile(rb"xxh3-128:([0-9a-f]{32})(?![0-9a-f])")
_DAMAGED = "{} is damaged: it has changed since it was written; make it again"
_SEALED_WITHIN = 1 << 16  # bytes; the seal is near the beginning of a file
_SMALL = 1 << 20  # bytes; such files are checked before they are used, as a wrong size in a configuration costs memory


def seal(path: Path) -> None:
    """Write a file's hash into the file, at the first ``BLANK``."""
    place = _place(path)
    if place is None:
        raise ValueError(f"{path} has no place for its hash")
    with path.open("r+b") as file:
        found = _hash(file, place)
        file.seek(place)
        file.write(found)


def is_sealed(path: str | Path) -> bool:
    """Whether a file contains its own hash; the file is checked against it.

    Raises:
        ArtifactError: the file has changed since it was written.
    """
    place = _place(Path(path))
    if place is None:
        return False
    with Path(path).open("rb") as file:
        file.seek(place)
        if file.read(_DIGITS) != _hash(file, place):
            raise ArtifactError(_DAMAGED.format(path))
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
        found = read_json(path.read_text(encoding="utf-8"))["data"] if sealed else None
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


def write_checksums(folder: Path) -> None:
    """Write the hashes of all files in ``folder`` to its ``CHECKSUMS``, but for the card, which people edit."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != CARD)
    write_sealed(folder / CHECKSUMS, {name: checksum(folder / name) for name in names})


@contextmanager
def checked_folder(folder: str | Path, concerned: Callable[[str], bool] = lambda name: True) -> Iterator[bool]:
    """Whether ``folder`` has checksums; each file that they list and that is ``concerned`` is checked.

    Large files are checked while the block reads them.

    Raises:
        ArtifactError: a file has changed since it was written, or is missing, even if the block raises something else.
    """
    folder = Path(folder)
    if not (folder / CHECKSUMS).is_file():
        yield False
        return
    large = {}
    for name, expected in read_sealed(folder / CHECKSUMS).items():
        if not concerned(name):
            continue
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, but {folder / CHECKSUMS} lists it; make the folder again")
        if os.path.getsize(path) > _SMALL:
            large[path] = expected
        else:
            _is_as_listed(path, expected)
    with meanwhile(lambda: all(_is_as_listed(path, expected) for path, expected in large.items())):
        yield True


def check_folder(folder: str | Path, concerned: Callable[[str], bool] = lambda name: True) -> bool:
    """What ``checked_folder`` gives, once all is checked."""
    with checked_folder(folder, concerned) as sealed:
        return sealed


def check_listed(path: Path) -> None:
    """Check a file against the checksums of its folder, where they list it.

    Raises:
        ArtifactError: it has changed since it was written, or is missing.
    """
    check_folder(path.parent, lambda name: name == path.name)


@contextmanager
def meanwhile(check: Callable[[], object]) -> Iterator[None]:
    """Run ``check`` on a second thread during the block; hashing leaves Python free. Its error replaces the block's."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        checking = thread.submit(check)
        try:
            yield
        finally:
            checking.result()


def _is_as_listed(path: Path, expected: str) -> bool:
    if checksum(path) != expected:
        raise ArtifactError(
            f"{path} has changed since it was written; make the folder again, or, if you changed it yourself, copy it "
            f"elsewhere or remove {path.parent / CHECKSUMS}"
        )
    return True


def _place(path: Path) -> int | None:
    """The place of a file's own hash, if it has one."""
    with path.open("rb") as file:
        found = _SEAL.search(file.read(_SEALED_WITHIN))
    return None if found is None else found.start(1)


def _hash(file: BinaryIO, place: int) -> bytes:
    """The hash of a file with its own hash, at ``place``, blanked."""
    with (
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,  # read() would copy everything
        memoryview(content) as view,
        view[place + _DIGITS :] as rest,
    ):
        found = xxhash.xxh3_128(_blanked(content[: place + _DIGITS], place))
        found.update(rest)
        return str(found.hexdigest()).encode()


def _blanked(head: bytes, place: int) -> bytes:
    return head[:place] + b"0" * _DIGITS + head[place + _DIGITS :]
