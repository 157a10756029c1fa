"""The report's page stands alone."""

from __future__ import annotations

import re

import mnemotomy as mt
from mnemotomy.demo.page import Picture, Section, write_page


def test_a_page_fetches_nothing_and_escapes(tmp_path):
    mt.figures.filter_bars({"before": {"one": 1.0}}, tmp_path / "c.png")
    section = Section("Part", ["1 < 2"], [Picture(tmp_path / "c.png", "bars")], [mt.Table(["a"], [["<b>"]], "numbers")])
    write_page(tmp_path / "page.html", "Title & more", "Lead.", [section], "Foot.")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Title &amp; more" in page
    assert "1 &lt; 2" in page
    assert "&lt;b&gt;" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "<script" not in page
