"""Results by content: what was measured once with the same models, settings and versions is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnemotomy.core.cells import json_cells
from mnemotomy.core.keys import key
from mnemotomy.core.version import versions


def cached(
    folder: Path, what: Mapping[str, Any], run: Callable[[], Mapping[str, Any]], *, kind: str = "cells"
) -> dict[str, Any]:
    """The record of ``what``: from its file in a folder of cells, or from ``run`` now.

    Args:
        folder: of the bench.
        what: everything that the record depends on but versions, as JSON can hold it.
        run: measures it.
        kind: the name of the folder in ``folder``.
    """
    identity = {**what, "versions": versions()}
    cells = json_cells(folder / kind)
    return dict(cells.kept(key(identity), lambda: {"record": dict(run()), "identity": identity})["record"])
