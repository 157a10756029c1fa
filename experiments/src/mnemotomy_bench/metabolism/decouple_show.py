"""The table of the decouple bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, percent, table

COLUMNS = {
    "without_store": Column("without store", percent),
    "with_store": Column("with store", percent),
    "others_with_store": Column("other facts", percent),
    "follows_change": Column("changed fact", percent),
    "stale": Column("stale answer", percent),
    "answered_after_deletion": Column("after deletion", percent),
    "admits_deletion": Column("admits deletion", percent),
    "admits_absent": Column("admits absent", percent),
}


def table_of(records: Sequence[Mapping[str, Any]]) -> Table:
    """One row per model."""
    caption = "Each model with the same store (% of the questions)"
    return table(records, COLUMNS, name="model", head="model", caption=caption)
