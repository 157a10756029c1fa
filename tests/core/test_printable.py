"""What others wrote is shown and never obeyed: on a terminal, in Markdown, in a table program."""

from __future__ import annotations

import csv
import io

import pytest

from mnemotomy.core.printable import csv_cell, json_text, markdown, one_line, printable
from mnemotomy.report.table import Table


def test_control_characters_are_shown_as_escapes():
    assert printable("\x1b]0;title\x07\x1b[2J a\nb\tü") == "\\x1b]0;title\\x07\\x1b[2J a\nb\tü"
    assert printable("\u202egnp.exe \udcff \x9b31m") == "\\u202egnp.exe \\udcff \\x9b31m"
    assert one_line("a\r\n\x1b[31mb") == "a \\x1b[31mb"
    assert json_text('"a\x7f\udc80"') == '"a\\u007f\\udc80"'


def test_a_terminal_table_has_no_control_characters():
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    Table(["name\x1b[31m", "b"], [["\x1b[2J[bold]x[/bold]", "c"]], "about\x07").print(console)
    shown = console.file.getvalue()
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\\x1b[2J[bold]x[/bold]" in shown


def test_markdown_shows_texts_as_written():
    assert markdown("<img src=x onerror=alert(1)>") == "&lt;img src=x onerror=alert(1)&gt;"
    assert markdown("a | b\n\n# c `d` [e](f) *g* _h_ i_j") == r"a \| b # c \`d\` \[e\](f) \*g\* \_h\_ i_j"
    line = Table(["a"], [["x|y\nz"]]).markdown().splitlines()[-1]
    assert line == r"| x\|y z |"


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "=", "-1+A1", "-cmd|' /C calc'!A0"])
def test_a_formula_becomes_a_text(text: str):
    assert csv_cell(text) == "'" + text
    written = Table(["n", "v"], [[text, "-0.5"]]).csv()
    assert list(csv.reader(io.StringIO(written)))[1] == ["'" + text, "-0.5"]


def test_a_carriage_return_ends_no_row():
    assert list(csv.reader(io.StringIO(Table(["n"], [["a\r=1"], ["\r\n=2"]]).csv()))) == [["n"], ["a\n=1"], ["'\n=2"]]


@pytest.mark.parametrize("text", ["-1", "+1e-6", "-inf", "nan", "-0.1 ± 0.2", "-5 %", "a=b", "", "-", "0"])
def test_numbers_and_plain_texts_stay(text: str):
    assert csv_cell(text) == text
