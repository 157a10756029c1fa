"""Figures."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from drawn import bars, image, legend, texts, ticks, titles
from PIL import Image

from mnemotomy.core.errors import DataError
from mnemotomy.report.figures import accuracy_heatmap, filter_bars, subset_curves, trace_heatmap
from mnemotomy.report.model_card import model_card


def test_an_accuracy_heatmap_has_a_panel_per_title_and_the_untouched_model_first(tmp_path, figures):
    matrices = {"paper": [[0.0, 1.0], [0.5, 0.25]], "US$_$": [[1.0, 1.0], [1.0, 0.0]]}
    accuracy_heatmap(matrices, ["x", r"a$\frac$b"], tmp_path / "a.png", before=[0.75, 1.0])
    [figure] = figures
    assert titles(figure) == ["paper", "US$_$"]
    first, second = figure.axes
    assert image(first).tolist() == [[75, 100], [0, 100], [50, 25]]
    assert texts(second) == ["75", "100", "100", "100", "100", "0"]
    assert ticks(first, "y") == ["(nothing)", "x", r"a$\frac$b"]  # no formulas
    assert ticks(first) == ["x", r"a$\frac$b"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("accuracy on (%)", "erased")
    assert first.get_images()[0].get_clim() == (0, 100)


def test_subset_curves_leave_out_what_is_absent(tmp_path, figures):
    subset_curves(
        [
            {"size": 1, "erased_accuracy": 0.0, "kept_accuracy": 0.9},
            {"size": 2, "erased_accuracy": 0.1, "kept_accuracy": None},
        ],
        tmp_path / "b.png",
    )
    [axis] = figures[0].axes
    assert [line.get_xydata().tolist() for line in axis.get_lines()] == [[[1, 90]], [[1, 0], [2, 10]]]
    assert texts(axis) == ["kept", "erased"]
    assert axis.get_ylim() == (-4, 104)


def test_filter_bars_stand_in_groups(tmp_path, figures):
    filter_bars(
        {"before": {"one": 1.0, "two_three": 0.5}, "after": {"one": 0.0, "two_three": 0.25}}, tmp_path / "c.png"
    )
    [axis] = figures[0].axes
    assert bars(axis) == [[100, 50], [0, 25]]
    assert ticks(axis) == ["one", "two three"]
    assert legend(axis) == ["before", "after"]


def test_a_trace_heatmap_has_blocks_down_and_kinds_across(tmp_path, figures):
    trace = pd.DataFrame(
        {
            "concept": ["a", "a", "US$_$", "US$_$"],
            "kind": ["q_proj", "head", "q_proj", "head"],
            "layer": pd.array([0, None, 0, None], dtype="Int64"),
            "weight_norm": [0.1, 1.4, 0.2, 0.3],
        }
    )
    trace_heatmap(trace, tmp_path / "d.png")
    assert titles(figures[0]) == ["a: ‖W⁺‖/‖W‖", "US$_$: ‖W⁺‖/‖W‖"]
    first, second = figures[0].axes
    assert (ticks(first, "y"), ticks(first)) == (["0", "–"], ["q_proj", "head"])
    assert texts(first) == ["0.10", "1.40"]
    assert texts(second) == ["0.20", "0.30"]
    assert second.get_images()[0].get_clim() == (0, 1.4)  # one scale for all panels


def test_a_figure_is_written_in_the_format_of_its_suffix(tmp_path):
    filter_bars({"before": {"one": 1.0}}, tmp_path / "c.png")
    filter_bars({"before": {"one": 1.0}}, tmp_path / "c.svg")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1080, 540)  # 7.2 × 3.6 inches
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    with pytest.raises(DataError, match=r"cannot write a figure as \.txt; choose one of"):
        filter_bars({"before": {"one": 1.0}}, tmp_path / "c.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "c.svg"]


def test_a_model_card_shows_foreign_texts_as_written():
    hostile = "<script>alert(1)</script>|x\n# y `z` [a](b)"
    record = {
        "kind": "edit",
        "model": {"name": hostile, "class": "M", "fingerprint_before": "`x`\n", "fingerprint_after": "b"},
        "recipe": {
            "erase": [hostile], "inject": [], "base": None, "moments": hostile, "outputs": True, "sites": hostile,
            "layers": None, "cut": {"kind": "relative"}, "filter": {"kind": hostile}, "strength": 1.0, "dtype": "x",
        },
        "counts": {"examples": {hostile: 1}, "tokens": {hostile: 2}},
        "sites": ["a"],
        "files": {"a": {hostile: "0"}},
        "versions": {"mnemotomy": "1"},
    }  # fmt: skip
    card = model_card(record).split("---\n", 2)[2]
    outside = re.sub(r"`[^`\n]*`", "", card)  # nothing has a meaning inside
    assert "<script>" not in outside
    assert "[a](b)" not in outside
    assert "\n# y" not in card
    assert "P_out W f(P)" in card
    for line in card.splitlines():
        if line.startswith("| moments"):
            assert line.replace("\\|", "").count("|") == 3
