"""Table 2, with further columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from mnemotomy.report.table import Table
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN
from mnemotomy_bench.lab.table import Column, fixed, percent, table

Record = Mapping[str, Any]


def _size(unit: float) -> Callable[[float], str]:
    return lambda value: f"{value / unit:.3g}"


COLUMNS: dict[str, Column] = {
    "tow": Column("ToW", fixed(3), "↑", gap=True),
    "da": Column("DA", fixed(3), "↑", gap=True),
    "nmi": Column("NMI", fixed(3), "↓", gap=True),
    "forget": Column("forget %", percent, ""),
    "retain": Column("retain %", percent, ""),
    "test": Column("test %", percent, ""),
    "cka_original": Column("CKA original", fixed(3), "↓"),
    "cka_retrained": Column("CKA retrained", fixed(3), "↑"),
    "membership_accuracy": Column("MIA accuracy", fixed(3), "≈", gap=True),
    "membership_efficacy": Column("MIA efficacy", fixed(3), "≈", gap=True),
    "relearned_forget": Column("relearned %", percent, "≈", gap=True),
    "relearned_retain": Column("others relearned %", percent, ""),
    "seconds": Column("seconds", _size(1.0), "↓"),
    "flops": Column("GFLOP", _size(1e9), "↓"),
    "peak_bytes": Column("peak MiB", _size(2.0**20), "↓"),
}


def table_of(records: Sequence[Record], keys: Sequence[str] = tuple(COLUMNS), caption: str = "") -> Table:
    """The table of one case: gaps to Retrain in parentheses; Original and Retrain are not ranked."""
    shown = [_without_gaps(record) if record["method"] == RETRAIN else record for record in records]
    columns = {key: COLUMNS[key] for key in keys}
    return table(shown, columns, caption=caption, competes=lambda one: one["method"] not in (ORIGINAL, RETRAIN))


def print_records(records: Sequence[Record], console: Console) -> None:
    """A table per case, one row per method."""
    for name in dict.fromkeys(record["case"] for record in records):
        some = [record for record in records if record["case"] == name]
        table_of(some, caption=f"{name}: class-wise unlearning, gap to Retrain in parentheses").print(console)


def _without_gaps(record: Record) -> Record:
    return {key: value for key, value in record.items() if not key.endswith("_gap")}
