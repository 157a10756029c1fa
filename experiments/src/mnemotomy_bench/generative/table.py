"""The tables of the generative bench, on the terminal and in Markdown: of digits, and of attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from mnemotomy.report.terminal import print_table

Record = dict[str, Any]
Form = Callable[[float], str]


@dataclass(frozen=True)
class Sheet:
    """Which numbers stand in one table: key to title and form."""

    title: str
    columns: dict[str, tuple[str, Form]]


def _thousandths(value: float) -> str:
    return f"{1000 * value:.1f}"


def _fixed(digits: int) -> Form:
    return lambda value: f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _short(value: float) -> str:
    return f"{value:.3g}"


DIGITS = (
    Sheet(
        "one digit forgotten, squared errors × 1000 on test images",
        {
            "own": ("digit", _thousandths),
            "others": ("others", _thousandths),
            "own_rise": ("digit, rise", _thousandths),
            "others_rise": ("others, rise", _thousandths),
            "worst_rise": ("worst, rise", _thousandths),
            "selectivity": ("ratio", _fixed(1)),
            "seconds": ("seconds", _short),
        },
    ),
    Sheet(
        "the codes of the same networks, linear CKA",
        {
            "cka_own": ("to the original, digit", _fixed(3)),
            "cka_others": ("to the original, others", _fixed(3)),
            "cka_retrained": ("to the retrained", _fixed(3)),
        },
    ),
    Sheet(
        "every digit forgotten in turn, squared errors × 1000 on test images",
        {
            "all_own_rise": ("digit, rise", _thousandths),
            "all_others_rise": ("others, rise", _thousandths),
            "all_own_factor": ("digit, times", _fixed(1)),
            "all_others_factor": ("others, times", _fixed(2)),
            "all_selectivity": ("ratio", _fixed(1)),
            "all_lowest_selectivity": ("lowest ratio", _fixed(1)),
            "seconds_all": ("seconds, all", _short),
        },
    ),
)
"""``rise``: over the original's error. ``ratio``: the digit's rise over the others'."""

FACES = (
    Sheet(
        "what a classifier reads of faces with an attribute erased, mean over attributes",
        {
            "before": ("before %", _percent),
            "left": ("left %", _percent),
            "amplified": ("amplified %", _percent),
            "rank_correlation": ("rank corr.", _fixed(3)),
            "monotone": ("monotone %", _percent),
            "others": ("others %", _percent),
            "both_left": ("two erased, left %", _percent),
        },
    ),
    Sheet(
        "what else changed in the same faces",
        {
            "factors": ("factors", _fixed(3)),
            "bystanders": ("bystanders, MSE", _short),
            "untouched_inside": ("to the truth, before: inside", _short),
            "erased_inside": ("after: inside", _short),
            "untouched_outside": ("before: outside", _short),
            "erased_outside": ("after: outside", _short),
            "reconstruction": ("reconstruction, MSE", _short),
        },
    ),
)


def sheets_of(record: Record) -> tuple[Sheet, ...]:
    """Digits are told by their errors."""
    return DIGITS if "own" in record else FACES


def text(record: Record, key: str, form: Form) -> str:
    """One number with its spread, as in ``63.1 ± 2.0``; a dash where there is none."""
    value, spread = record.get(key), record.get(f"{key}_spread")
    if value is None:
        return "–"
    return form(value) if spread is None else f"{form(value)} ± {form(spread)}"


def markdown(records: Sequence[Record]) -> str:
    """The tables of one case, a row per method that has numbers for it."""
    blocks = []
    for sheet in sheets_of(records[0]):
        lines = [
            f"{sheet.title[0].upper()}{sheet.title[1:]}:\n",
            "| method | " + " | ".join(title for title, _ in sheet.columns.values()) + " |",
            "|---" + "|---:" * len(sheet.columns) + "|",
        ]
        lines += [f"| {one['title']} | " + " | ".join(_cells(one, sheet)) + " |" for one in _having(records, sheet)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def print_records(records: Sequence[Record], console: Console) -> None:
    """The same tables on the terminal, case by case."""
    for name in dict.fromkeys(record["case"] for record in records):
        some = [record for record in records if record["case"] == name]
        for sheet in sheets_of(some[0]):
            heads = ["method", *(title for title, _ in sheet.columns.values())]
            rows = [[escape(one["title"]), *map(escape, _cells(one, sheet))] for one in _having(some, sheet)]
            print_table(console, f"{name}: {sheet.title}", heads, rows)


def _having(records: Sequence[Record], sheet: Sheet) -> list[Record]:
    first = next(iter(sheet.columns))
    return [one for one in records if one.get(first) is not None]


def _cells(record: Record, sheet: Sheet) -> list[str]:
    return [text(record, key, form) for key, (_, form) in sheet.columns.items()]
