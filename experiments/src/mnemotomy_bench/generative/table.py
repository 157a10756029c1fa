"""The tables of the generative bench: of digits, and of attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, Columns, fixed, percent, table

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """The numbers of one table, by key."""

    title: str
    columns: Columns


def _thousandths(value: float) -> str:
    return f"{1000 * value:.1f}"


def _short(value: float) -> str:
    return f"{value:.3g}"


DIGITS = (
    Sheet(
        "one digit forgotten, squared errors × 1000 on test images",
        {
            "own": Column("digit", _thousandths),
            "others": Column("others", _thousandths),
            "own_rise": Column("digit, rise", _thousandths),
            "others_rise": Column("others, rise", _thousandths),
            "worst_rise": Column("worst, rise", _thousandths),
            "selectivity": Column("ratio", fixed(1)),
            "seconds": Column("seconds", _short),
        },
    ),
    Sheet(
        "the codes of the same networks, linear CKA",
        {
            "cka_own": Column("to the original, digit", fixed(3)),
            "cka_others": Column("to the original, others", fixed(3)),
            "cka_retrained": Column("to the retrained", fixed(3)),
        },
    ),
    Sheet(
        "every digit forgotten in turn, squared errors × 1000 on test images",
        {
            "all_own_rise": Column("digit, rise", _thousandths),
            "all_others_rise": Column("others, rise", _thousandths),
            "all_own_factor": Column("digit, times", fixed(1)),
            "all_others_factor": Column("others, times", fixed(2)),
            "all_selectivity": Column("ratio", fixed(1)),
            "all_lowest_selectivity": Column("lowest ratio", fixed(1)),
            "seconds_all": Column("seconds, all", _short),
        },
    ),
)
"""``rise``: over the original's error. ``ratio``: the digit's rise over the others'."""

FACES = (
    Sheet(
        "what a classifier reads from faces with an attribute erased, mean over attributes",
        {
            "before": Column("before %", percent),
            "left": Column("left %", percent),
            "amplified": Column("amplified %", percent),
            "rank_correlation": Column("rank corr.", fixed(3)),
            "monotone": Column("monotone %", percent),
            "others": Column("others %", percent),
            "both_left": Column("two erased, left %", percent),
        },
    ),
    Sheet(
        "what else changed in the same faces",
        {
            "factors": Column("factors", fixed(3)),
            "bystanders": Column("bystanders, MSE", _short),
            "untouched_inside": Column("to the truth, before: inside", _short),
            "erased_inside": Column("after: inside", _short),
            "untouched_outside": Column("before: outside", _short),
            "erased_outside": Column("after: outside", _short),
            "reconstruction": Column("reconstruction, MSE", _short),
        },
    ),
)


def sheets_of(record: Record) -> tuple[Sheet, ...]:
    """The tables for a record; only digits have errors."""
    return DIGITS if "own" in record else FACES


def tables_of(records: Sequence[Record]) -> list[Table]:
    """The tables of one case, a row per method that has numbers for it."""
    return [
        table(
            [one for one in records if one.get(next(iter(sheet.columns))) is not None],
            sheet.columns,
            caption=sheet.title,
        )
        for sheet in sheets_of(records[0])
    ]


def markdown(records: Sequence[Record]) -> str:
    """The tables of one case under their captions."""
    return "\n\n".join(f"{one.caption[0].upper()}{one.caption[1:]}:\n\n{one.markdown()}" for one in tables_of(records))


def print_records(records: Sequence[Record], console: Console) -> None:
    """The same tables on the terminal, case by case."""
    for name in dict.fromkeys(record["case"] for record in records):
        for one in tables_of([record for record in records if record["case"] == name]):
            replace(one, caption=f"{name}: {one.caption}").print(console)
