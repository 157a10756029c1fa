"""Files of the demo: whoever stops it finds the old one or the new one, never half of one."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Replace a file by ``text`` in one step."""
    path = Path(path)
    whole = path.with_name(f".{path.name}")
    whole.write_text(text, encoding="utf-8")
    whole.replace(path)
