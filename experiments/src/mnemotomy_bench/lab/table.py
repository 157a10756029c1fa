"""Tables of records: columns, which direction is better, and how numbers and spreads are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mnemotomy.report.table import Ranked, Table

Better = Literal["↑", "↓", "≈", ""]
"""Which direction is better; ``≈``: the smaller the gap, the better."""

DASH = "–"


@dataclass(frozen=True)
class Column:
    """How one number of a record is shown.

    Attributes:
        title: of the column.
        form: formats a number.
        better: which direction is better.
        gap: whether the record's ``<key>_gap`` follows it in parentheses.
    """

    title: str
    form: Callable[[float], str]
    better: Better = ""
    gap: bool = False

    @property
    def head(self) -> str:
        """The title with an arrow."""
        return f"{self.title} {self.better}".strip()


Columns = Mapping[str, Column]


def table(
    records: Sequence[Mapping[str, Any]],
    columns: Columns,
    *,
    name: str = "title",
    head: str = "method",
    caption: str = "",
    competes: Callable[[Mapping[str, Any]], bool] = lambda record: True,
) -> Table:
    """A row for each record, the best of each column marked.

    Args:
        records: numbers by key; ``<key>_spread``, if present, is shown after the number.
        columns: by the keys of the numbers.
        name: the key of the rows' names.
        head: of the column of names.
        caption: of the table.
        competes: which records can be the best.
    """
    ranks = {key: places(records, key, column, competes) for key, column in columns.items()}
    rows = [
        [str(record[name]), *(Ranked(written(record, key, column), ranks[key][row]) for key, column in columns.items())]
        for row, record in enumerate(records)
    ]
    return Table([head, *(column.head for column in columns.values())], rows, caption)


def places(
    records: Sequence[Mapping[str, Any]],
    key: str,
    column: Column,
    competes: Callable[[Mapping[str, Any]], bool] = lambda record: True,
) -> list[int]:
    """1 for the best of a column, 2 for the second best, 0 for the rest; ties share a place."""
    worth: list[float | None] = []
    for record in records:
        if not column.better or record.get(key) is None or not competes(record):
            worth.append(None)
            continue
        value = record[f"{key}_gap"] if column.better == "≈" else record[key]
        worth.append(round(value if column.better == "↑" else -value, 9))
    best = sorted({one for one in worth if one is not None}, reverse=True)[:2]
    return [0 if one is None or one not in best else best.index(one) + 1 for one in worth]


def written(record: Mapping[str, Any], key: str, column: Column) -> str:
    """One number with its spread and its gap, as in ``0.984 ± 0.002 (0.015)``; a dash where there is none."""
    value = record.get(key)
    if value is None:
        return DASH
    spread, gap = record.get(f"{key}_spread"), record.get(f"{key}_gap")
    shown = [column.form(value)]
    if spread is not None:
        shown.append(f"± {column.form(spread)}")
    if column.gap and gap is not None:
        shown.append(f"({column.form(gap)})")
    return " ".join(shown)


def fixed(digits: int) -> Callable[[float], str]:
    """A number with this many decimals."""
    return lambda value: f"{value:.{digits}f}"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f}"


def in_units_of(unit: float) -> Callable[[float], str]:
    """A size with three significant digits, thousands in full."""
    return lambda value: f"{value / unit:,.0f}" if value / unit >= 1000 else f"{value / unit:.3g}"
