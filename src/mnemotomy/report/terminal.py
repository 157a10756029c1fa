"""Tables on the terminal, in as many parts as its width asks for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

FRAME = 3
"""What a column takes beside its text: a rule and two blanks."""


def print_table(console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads; where the columns do not fit, print several tables with the first column in each.

    Args:
        console: where to; its width is kept.
        title: above the first part.
        heads: of all columns; the first names the rows.
        rows: texts with rich's markup, as many as there are heads.
    """
    widths = [max(map(_width, column)) + FRAME for column in zip(heads, *rows, strict=True)]
    room = console.width - widths[0] - 1
    for number, columns in enumerate(parts(widths[1:], room)):
        table = Table(title=title if number == 0 else None, title_justify="left")
        table.add_column(heads[0], overflow="fold")
        for column in columns:
            table.add_column(heads[column + 1], justify="right", overflow="fold")
        for row in rows:
            table.add_row(row[0], *(row[column + 1] for column in columns))
        console.print(table)


def parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """The numbers of neighbouring columns that fit together, at least one in each part."""
    found: list[list[int]] = []
    left = -1
    for number, width in enumerate(widths):
        if not found or width > left:
            found.append([])
            left = room
        found[-1].append(number)
        left -= width
    return found


def _width(text: str) -> int:
    return max((line.cell_len for line in Text.from_markup(text).split()), default=0)
