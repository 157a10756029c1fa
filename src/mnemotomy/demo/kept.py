"""Results of the demo's stages, kept in files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnemotomy.demo.written import write_whole


class Kept:
    """Results in files, made again once anything that they depend on has changed.

    Args:
        folder: of the files.
        needed: what all of them depend on, as JSON values.
    """

    def __init__(self, folder: Path, needed: Mapping[str, Any]) -> None:
        self.folder, self.needed = folder, dict(needed)

    def __call__(self, name: str, run: Callable[[], Any]) -> Any:
        """The result of that name, which is JSON: read, or made by ``run``."""
        path = self.folder / f"{name}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # made again
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["made with"] == self.needed:
                return kept["found"]
        found = run()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"made with": self.needed, "found": found}, indent=1))
        return found
