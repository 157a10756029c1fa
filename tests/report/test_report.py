"""Figures."""

from __future__ import annotations

import pandas as pd

from mnemotomy.report.figures import accuracy_heatmap, filter_bars, subset_curves, trace_heatmap

PNG = b"\x89PNG\r\n\x1a\n"


def test_figures_are_written_as_png(tmp_path):
    accuracy_heatmap({"a": [[0.0, 1.0], [1.0, 0.0]]}, ["x", "y"], tmp_path / "a.png", before=[1.0, 1.0])
    subset_curves(
        [
            {"size": 1, "erased_accuracy": 0.0, "kept_accuracy": 0.9},
            {"size": 2, "erased_accuracy": 0.1, "kept_accuracy": None},
        ],
        tmp_path / "b.png",
    )
    filter_bars({"before": {"one": 1.0, "two": 0.5}, "after": {"one": 0.0, "two": 0.5}}, tmp_path / "c.png")
    trace = pd.DataFrame(
        {
            "concept": ["a", "a", "b", "b"],
            "kind": ["q_proj", "head", "q_proj", "head"],
            "layer": pd.array([0, None, 0, None], dtype="Int64"),
            "weight_norm": [0.1, 1.4, 0.2, 0.3],
        }
    )
    trace_heatmap(trace, tmp_path / "d.png")
    for name in ("US$_$", r"a$\frac$b"):  # no formulas
        accuracy_heatmap({name: [[0.0, 1.0], [1.0, 0.0]]}, [name, "y"], tmp_path / "a.png")
        trace_heatmap(trace.assign(concept=name, kind=name), tmp_path / "d.png")
    for name in "abcd":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
