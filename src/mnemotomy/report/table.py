"""Tables for the terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from mnemotomy.core.printable import csv_cell, markdown, printable

FRAME = 3
"""The width of a column besides its text: a rule and two blanks."""

_TERMINAL = {0: ("", ""), 1: ("[bold]", "[/bold]"), 2: ("[underline]", "[/underline]")}
_MARKDOWN = {0: ("", ""), 1: ("**", "**"), 2: ("<u>", "</u>")}


class Ranked(str):
    """The text of a cell with its place in the column: the best (1), the second best (2), or neither (0)."""

    place: int

    def __new__(cls, text: str, place: int) -> Ranked:
        ranked = super().__new__(cls, text)
        ranked.place = place
        return ranked


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first column names the rows.

    Attributes:
        heads: of the columns.
        rows: one text for each head; ``Ranked`` ones are bold or underlined.
        caption: what the table shows.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
        """Rows with the same keys, with all digits; None is empty."""
        heads = list(rows[0]) if rows else []
        return cls(heads, [["" if row[head] is None else str(row[head]) for head in heads] for row in rows], caption)

    def print(self, console: Console) -> None:
        """Print it, if it is too wide as several tables that all begin with the first column."""
        rows = [[_marked(escape(printable(text)), text, _TERMINAL) for text in row] for row in self.rows]
        heads = [escape(printable(head)) for head in self.heads]
        widths = [max(map(_width, column)) + FRAME for column in zip(heads, *rows, strict=True)]
        room = console.width - widths[0] - 1
        for number, columns in enumerate(parts(widths[1:], room)):
            title = Text(printable(self.caption)) if self.caption and number == 0 else None
            grid = Grid(title=title, title_justify="left")
            grid.add_column(heads[0], overflow="fold")
            for column in columns:
                grid.add_column(heads[column + 1], justify="right", overflow="fold")
            for row in rows:
                grid.add_row(row[0], *(row[column + 1] for column in columns))
            console.print(grid)

    def markdown(self) -> str:
        """The table without its caption."""
        lines = [f"| {' | '.join(map(markdown, self.heads))} |", "|---" + "|---:" * (len(self.heads) - 1) + "|"]
        lines += [f"| {' | '.join(_marked(markdown(text), text, _MARKDOWN) for text in row)} |" for row in self.rows]
        return "\n".join(lines)

    def csv(self) -> str:
        """The table as comma-separated values; a text that looks like a formula begins with an apostrophe."""
        text = io.StringIO()
        rows = ([csv_cell(cell) for cell in row] for row in (self.heads, *self.rows))
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()


def parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """The indices of neighbouring columns that fit side by side, at least one in each part."""
    found: list[list[int]] = []
    left = -1
    for number, width in enumerate(widths):
        if not found or width > left:
            found.append([])
            left = room
        found[-1].append(number)
        left -= width
    return found


def _marked(shown: str, text: str, marks: dict[int, tuple[str, str]]) -> str:
    before, after = marks[text.place if isinstance(text, Ranked) else 0]
    return f"{before}{shown}{after}"


def _width(text: str) -> int:
    return max((line.cell_len for line in Text.from_markup(text).split()), default=0)
