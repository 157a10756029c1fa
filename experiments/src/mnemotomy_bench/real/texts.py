"""General texts: problems of GSM8K, where the data exist."""

from __future__ import annotations

import os
from pathlib import Path

from mnemotomy.data.json_lines import json_lines


def problems(count: int) -> list[str]:
    """The first problems of the test split with their solutions; none without ``MNEMOTOMY_DATA``."""
    folder = Path(os.environ.get("MNEMOTOMY_DATA", "")) / "gsm8k"
    files = sorted(folder.glob("*test*.jsonl")) or sorted(folder.glob("*.jsonl"))
    if "MNEMOTOMY_DATA" not in os.environ or not files or not count:
        return []
    found = []
    for row, _ in json_lines(files[0]):
        found.append(f"{row['question']}\n{row['answer']}")
        if len(found) == count:
            break
    return found
