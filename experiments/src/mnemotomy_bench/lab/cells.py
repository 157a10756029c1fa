"""Results cached by content: the same models, settings and versions are measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnemotomy.core.cells import json_cells
from mnemotomy.core.keys import key
from mnemotomy.core.version import versions

Record = dict[str, Any]
"""What an experiment measured, as JSON holds it: numbers and texts by name, nested as its table needs them."""


def cached(
    folder: Path, what: Mapping[str, Any], run: Callable[[], Mapping[str, Any]], *, kind: str = "cells"
) -> dict[str, Any]:
    """The record of ``what``: read from its cell, or computed by ``run``.

    Args:
        folder: of the bench.
        what: everything that the record depends on except versions, as JSON values.
        run: measures it.
        kind: the subfolder of ``folder``.
    """
    identity = {**what, "versions": versions()}
    cells = json_cells(folder / kind)
    return dict(cells.kept(key(identity), lambda: {"record": dict(run()), "identity": identity})["record"])
