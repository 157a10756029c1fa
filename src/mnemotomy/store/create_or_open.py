"""Write to a store that may not exist yet, and leave no empty store behind on failure."""

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
    """Call ``write`` on the store at ``path`` and return its result; errors as for ``FactStore``.

    A new store is filled in a temporary folder and moved to ``path`` only when ``write`` has succeeded. If another
    process has made the store by then, ``write`` is called again, on that store.
    """
    if not path.exists() and path.parent.is_dir():
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            made = Path(folder) / path.name
            with FactStore(made) as opened:
                result = write(opened)
            with contextlib.suppress(OSError):  # the path is taken by now, or the disk has no hard links
                os.link(made, path)
                return result
    with FactStore(path) as opened:
        return write(opened)
