"""Table 2 with the columns that the paper lacks, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from mnemotomy.report.terminal import print_table
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN

Record = dict[str, Any]
Better = Literal["↑", "↓", "≈", ""]
"""Which way a column is better; ``≈``: the closer to the retrained model."""


@dataclass(frozen=True)
class Column:
    """A title, which way is better, how a number is written, and whether the gap to retraining stands behind it."""

    title: str
    better: Better
    form: Callable[[float], str]
    gap: bool = False


def _share(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _size(unit: float) -> Callable[[float], str]:
    return lambda value: f"{value / unit:.3g}"


COLUMNS: dict[str, Column] = {
    "tow": Column("ToW", "↑", _share, gap=True),
    "da": Column("DA", "↑", _share, gap=True),
    "nmi": Column("NMI", "↓", _share, gap=True),
    "forget": Column("forget %", "", _percent),
    "retain": Column("retain %", "", _percent),
    "test": Column("test %", "", _percent),
    "cka_original": Column("CKA original", "↓", _share),
    "cka_retrained": Column("CKA retrained", "↑", _share),
    "membership_accuracy": Column("MIA accuracy", "≈", _share, gap=True),
    "membership_efficacy": Column("MIA efficacy", "≈", _share, gap=True),
    "relearned_forget": Column("relearned %", "≈", _percent, gap=True),
    "relearned_retain": Column("others relearned %", "", _percent),
    "seconds": Column("seconds", "↓", _size(1.0)),
    "flops": Column("GFLOP", "↓", _size(1e9)),
    "peak_bytes": Column("peak MiB", "↓", _size(2.0**20)),
}
_MARKDOWN = {1: ("**", "**"), 2: ("<u>", "</u>"), 0: ("", "")}
_TERMINAL = {1: ("[bold]", "[/bold]"), 2: ("[underline]", "[/underline]"), 0: ("", "")}


def places(records: Sequence[Record], key: str) -> list[int]:
    """1 for the best of a column, 2 for the second best, 0 for the rest; equals share a place.

    Original and Retrain compete in nothing.
    """
    better = COLUMNS[key].better
    worth: list[float | None] = []
    for record in records:
        value = record[f"{key}_gap"] if better == "≈" and record[key] is not None else record[key]
        competes = better != "" and value is not None and record["method"] not in (ORIGINAL, RETRAIN)
        worth.append((value if better == "↑" else -value) if competes else None)
    ranked = sorted({round(one, 9) for one in worth if one is not None}, reverse=True)[:2]
    return [0 if one is None or round(one, 9) not in ranked else ranked.index(round(one, 9)) + 1 for one in worth]


def text(record: Record, key: str) -> str:
    """One number with its spread and its gap, as in ``0.984 ± 0.002 (0.015)``."""
    column, value = COLUMNS[key], record[key]
    if value is None:
        return "–"
    spread, gap = record.get(f"{key}_spread"), record.get(f"{key}_gap")
    parts = [column.form(value)]
    if spread is not None:
        parts.append(f"± {column.form(spread)}")
    if column.gap and gap is not None and record["method"] != RETRAIN:
        parts.append(f"({column.form(gap)})")
    return " ".join(parts)


def markdown(records: Sequence[Record], keys: Sequence[str] = tuple(COLUMNS)) -> str:
    """The table of one case: best in bold, second best underlined, the gap to retraining in parentheses."""
    marks = {key: places(records, key) for key in keys}
    heads = [f"{COLUMNS[key].title} {COLUMNS[key].better}".strip() for key in keys]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" + "|---:" * len(keys) + "|"]
    for number, record in enumerate(records):
        cells = [_marked(text(record, key), marks[key][number], _MARKDOWN) for key in keys]
        lines.append(f"| {record['title']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def print_records(records: Sequence[Record], console: Console) -> None:
    """A table per case, one row per method."""
    heads = ["method", *(f"{column.title} {column.better}".strip() for column in COLUMNS.values())]
    for name in dict.fromkeys(record["case"] for record in records):
        some = [record for record in records if record["case"] == name]
        marks = {key: places(some, key) for key in COLUMNS}
        rows = [
            [escape(record["title"])]
            + [_marked(escape(text(record, key)), marks[key][number], _TERMINAL) for key in COLUMNS]
            for number, record in enumerate(some)
        ]
        print_table(console, f"{name}: class-wise unlearning, gap to Retrain in parentheses", heads, rows)


def _marked(content: str, place: int, marks: dict[int, tuple[str, str]]) -> str:
    before, after = marks[place]
    return f"{before}{content}{after}"
