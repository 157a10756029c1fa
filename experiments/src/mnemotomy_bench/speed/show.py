"""The speed records as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mnemotomy.report.table import Table
from mnemotomy_bench.speed.records import SpeedRecord

COLUMNS = (
    *("case", "floor s", "ours s", "peer s"),
    *("ours/forward", "ours/floor", "peer/floor", "ours/peer", "memory/peer", "difference"),
)


def print_records(records: Sequence[SpeedRecord], console: Console) -> None:
    """One row per case."""
    Table(COLUMNS, list(map(cells, records)), "Seconds, ratios of medians, and the largest difference").print(console)
    for record in records:
        last = record["parts"]["ours"].get("last concept")
        if last is not None:
            console.print(f"{record['case']}: one more concept costs {last:.2f} s")


def cells(record: SpeedRecord) -> list[str]:
    """The columns of one record, a dash for what was not measured."""
    seconds = record["seconds"]
    return [
        record["case"],
        *(f"{seconds[name]:.2f}" if name in seconds else "–" for name in ("floor", "ours", "peer")),
        *(
            f"{record[key]:.2f}" if key in record else "–"
            for key in ("ours_to_forward", "ours_to_floor", "peer_to_floor", "ours_to_peer", "memory_to_peer")
        ),
        f"{record['largest_difference']:.0e}" if "largest_difference" in record else "–",
    ]
