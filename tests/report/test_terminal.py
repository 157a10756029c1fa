"""Tables that are wider than the terminal come in parts."""

from __future__ import annotations

import io

from rich.console import Console

from mnemotomy.report.terminal import parts, print_table


def test_neighbouring_columns_share_a_part_as_long_as_they_fit():
    assert parts([5, 5, 5], 10) == [[0, 1], [2]]
    assert parts([5, 50, 5, 5], 10) == [[0], [1], [2, 3]]
    assert parts([], 10) == []


def test_no_line_is_wider_than_the_terminal_and_every_cell_is_there():
    console = Console(file=io.StringIO(), width=60)
    heads = ["method", *(f"number {place}" for place in range(9))]
    rows = [[f"method {row}", *(f"[bold]{row}.{place:05d}[/bold]" for place in range(9))] for row in range(3)]
    print_table(console, "Numbers", heads, rows)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("Numbers" in line for line in lines) == 1
    for row in range(3):
        shown = "".join(line for line in lines if f"method {row}" in line)
        assert all(f"{row}.{place:05d}" in shown for place in range(9))
    assert all(any(head in line for line in lines) for head in heads)


def test_without_rows_the_heads_are_shown():
    console = Console(file=io.StringIO(), width=40)
    print_table(console, "Nothing", ["method", "a"], [])
    assert "method" in console.file.getvalue()
