"""Results by content: what was measured once with the same models, settings and versions is not measured again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnemotomy.core.files import write_text
from mnemotomy.core.version import versions

Record = dict[str, Any]


def cached(folder: Path, what: Record, run: Callable[[], Record]) -> Record:
    """The record of ``what``: from its file in ``folder/cells``, or from ``run`` now.

    Args:
        folder: of the bench.
        what: everything that the record depends on but versions, as JSON can hold it.
        run: measures it.
    """
    identity = what | {"versions": versions()}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / "cells" / f"{key}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8"))["record"])
    text = json.dumps({"record": run(), "identity": identity}, indent=1)
    write_text(path, text)
    return dict(json.loads(text)["record"])  # as it will be read: tuples are lists there
