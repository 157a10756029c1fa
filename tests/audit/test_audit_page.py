"""The page of a report: curves that can be compared, a legend, dark and light."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from reported import finding, page


def test_all_lines_of_an_attack_have_one_scale(tmp_path: Path) -> None:
    text = page(tmp_path, finding(before={"1": 4.0, "2": 2.0}, after={"1": 1.0, "2": 0.0}))
    assert re.findall(r'points="([^"]+)"', text) == ["0.0,0.0 190.0,30.0", "0.0,45.0 190.0,60.0"]
    assert '<text x="18" y="10" text-anchor="end">4</text>' in text


def test_the_legend_names_the_lines_that_there_are(tmp_path: Path) -> None:
    two = finding(before={"1": 1.0, "2": 0.5}, after={"1": 0.0, "2": 0.0})
    assert "gold model</span>" not in (text := page(tmp_path, two))
    assert "</span> before</span>, " in text
    assert "prefers-color-scheme: dark" in text
    three = finding(before={"1": 1.0, "2": 0.5}, after={"1": 0.0, "2": 0.0}, gold={"1": 0.1, "2": 0.1})
    assert "</span> gold model</span>." in page(tmp_path, three)


def test_the_reason_is_made_of_sentences(tmp_path: Path) -> None:
    text = page(tmp_path, finding())
    assert (
        "No attack that was run gets it back beyond doubt. Not run: inside the model (inside), "
        "membership, relearning and damaging the weights (relearn). There is no gold model" in text
    )


def test_the_page_says_what_each_part_took(tmp_path: Path) -> None:
    text = page(tmp_path, replace(finding(), seconds=12.4), replace(finding(), seconds=3.0, part="damage"))
    assert "<dt>seconds</dt><dd>Asking 12, Damage 3</dd>" in text
