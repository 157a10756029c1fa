"""Writing to a store that may not be there yet: one that holds what was to be written, or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mnemotomy.store.fact_store import FactStore

Result = TypeVar("Result")


def create_or_open(path: Path, write: Callable[[FactStore], Result]) -> Result:
    """What ``write`` returns, given the store at ``path``.

    Where there is none, one is filled beside it, and takes the name only when ``write`` is done: a refused fact leaves
    no empty store. If another process has made the store by then, ``write`` is called again, on that one.

    Raises:
        StoreError: as ``FactStore``.
    """
    if not path.exists() and path.parent.is_dir():
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            made = Path(folder) / path.name
            with FactStore(made) as opened:
                result = write(opened)
            with contextlib.suppress(OSError):  # the name is taken by now, or the disk knows no second names
                os.link(made, path)
                return result
    with FactStore(path) as opened:
        return write(opened)
