"""The training log: one JSON object per step, with every term."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnemotomy.core.files import write_text


class StepLog:
    """Records in memory and, if a path is given, as JSON Lines in a file."""

    def __init__(self, path: Path | None, *, resume_at: int = 0) -> None:
        """With ``resume_at``, the file's steps before it are kept and later ones dropped."""
        self.records: list[dict[str, Any]] = []
        self._file = None
        if path is None:
            return
        if resume_at and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.records = [record for record in map(_parsed, lines) if record and record["step"] < resume_at]
        write_text(path, "".join(map(_line, self.records)))  # in one step: a second kill loses none of them
        self._file = path.open("a", encoding="utf-8")

    def add(self, record: dict[str, Any]) -> None:
        """One more step."""
        self.records.append(record)
        self._write(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(_line(record))
            self._file.flush()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:  # the last line of a run that was killed
        return None
