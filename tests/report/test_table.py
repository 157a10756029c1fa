"""Tables on the terminal, in as many parts as its width asks for, in Markdown and as CSV."""

from __future__ import annotations

import io

import pandas as pd
from rich.console import Console

from mnemotomy.report.table import Ranked, Table, parts


def test_neighbouring_columns_share_a_part_as_long_as_they_fit():
    assert parts([5, 5, 5], 10) == [[0, 1], [2]]
    assert parts([5, 50, 5, 5], 10) == [[0], [1], [2, 3]]
    assert parts([], 10) == []


def test_no_line_is_wider_than_the_terminal_and_every_cell_is_there():
    console = Console(file=io.StringIO(), width=60)
    heads = ["method", *(f"number {place}" for place in range(9))]
    rows = [[f"method {row}", *(Ranked(f"{row}.{place:05d}", 1) for place in range(9))] for row in range(3)]
    Table(heads, rows, "Numbers").print(console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("Numbers" in line for line in lines) == 1
    for row in range(3):
        shown = "".join(line for line in lines if f"method {row}" in line)
        assert all(f"{row}.{place:05d}" in shown for place in range(9))
    assert all(any(head in line for line in lines) for head in heads)


def test_without_rows_the_heads_are_shown():
    console = Console(file=io.StringIO(), width=40)
    Table(["method", "a"], [], "Nothing").print(console)
    assert "method" in console.file.getvalue()


def test_names_are_texts_and_no_markup():
    console = Console(file=io.StringIO(), width=80)
    Table(["[red]", "n"], [["[bold]x", Ranked("1", 1)], ["[/]", "2"]], "[a]").print(console)
    for text in ("[red]", "[bold]x", "[/]", "[a]"):
        assert text in console.file.getvalue()


def test_the_best_and_the_second_best_in_markdown():
    table = Table(["method", "a"], [["x", Ranked("1", 1)], ["y", Ranked("2", 2)], ["z", Ranked("3", 0)]])
    assert table.markdown() == "| method | a |\n|---|---:|\n| x | **1** |\n| y | <u>2</u> |\n| z | 3 |"


def test_rows_as_csv():
    rows = [{"site": "a,b", "layer": 1, "share": 0.1 + 0.2}, {"site": "c", "layer": None, "share": 1e-9}]
    frame = pd.DataFrame(rows).astype({"layer": "Int64"})
    assert Table.of_rows(rows).csv() == frame.to_csv(index=False)
