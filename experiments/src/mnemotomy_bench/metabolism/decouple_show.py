"""The decouple bench for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from mnemotomy.report.terminal import print_table

COLUMNS = {
    "without_store": "without store",
    "with_store": "with store",
    "others_with_store": "other facts",
    "follows_change": "changed fact",
    "stale": "stale answer",
    "answered_after_deletion": "after deletion",
    "admits_deletion": "admits deletion",
    "admits_absent": "admits absent",
}


def cells(record: dict[str, Any]) -> list[str]:
    """Percentages, with their spread where there are several seeds."""
    found = []
    for key in COLUMNS:
        spread = record.get(f"{key}_spread")
        found.append(f"{100 * record[key]:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}"))
    return found


def print_records(records: Sequence[dict[str, Any]], console: Console) -> None:
    """One row per model."""
    rows = [[record["model"], *cells(record)] for record in records]
    title = "The same store beside each model (shares of the questions, %)"
    print_table(console, title, ["model", *COLUMNS.values()], rows)


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """The same table in Markdown."""
    lines = ["| model | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {record['model']} | " + " | ".join(cells(record)) + " |" for record in records]
    return "\n".join(lines)
