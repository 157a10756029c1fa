"""Figures, pages and metrics."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from mnemotomy.core.errors import DataError
from mnemotomy.demo.digits import diagonal_and_rest
from mnemotomy.metrics.accuracy import class_accuracies
from mnemotomy.report.figures import accuracy_heatmap, filter_bars, subset_curves, trace_heatmap

PNG = b"\x89PNG\r\n\x1a\n"


def test_class_accuracies_against_a_count_by_hand():
    found = class_accuracies(torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 2, 0]), 4)
    assert found[:3].tolist() == pytest.approx([2 / 3, 1.0, 1.0])
    assert math.isnan(found[3])


def test_a_prediction_beyond_the_classes_is_wrong():
    found = class_accuracies(torch.tensor([0, 7, -1]), torch.tensor([0, 0, 1]), 2)
    assert found.tolist() == [0.5, 0.0]


@pytest.mark.parametrize("label", [2, -1])
def test_labels_beyond_the_classes_are_refused(label):
    with pytest.raises(DataError, match=f"label {label} is none of 0 … 1"):
        class_accuracies(torch.tensor([0, label]), torch.tensor([0, label]), 2)
    with pytest.raises(DataError, match="2 predictions came with 1 labels"):
        class_accuracies(torch.tensor([0, 1]), torch.tensor([0]), 2)


def test_diagonal_and_rest():
    assert diagonal_and_rest(torch.tensor([[0.1, 0.9], [0.7, 0.0]])) == (pytest.approx(0.1), pytest.approx(0.8))


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
